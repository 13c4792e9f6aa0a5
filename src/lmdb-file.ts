import { type FileHandle, open } from 'node:fs/promises'

/**
 * Where the meta pages of an LMDB file have what is looked at here. LMDB maps its file into memory and
 * follows what it reads there, so that a file that is cut short, or no LMDB file, ends the process.
 */
const MAGIC_AT = 24
const PAGE_BYTES_AT = 48
const LAST_PAGE_AT = 144
const TRANSACTION_AT = 152
const META_BYTES = 160
const MAGIC = 0xbeefc0de
const PAGE_BYTES_DEFAULT = 4096

/**
 * @param path of an LMDB file; one that is not there yet is intact
 * @throws Error that says what is wrong with its file, in words.
 */
export async function assertIntact(path: string): Promise<void> {
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (file === undefined) return
  try {
    const { size } = await file.stat()
    if (size === 0) return
    const first = await metaAt(file, path, 0)
    const second = await metaAt(file, path, first.readUInt32LE(PAGE_BYTES_AT) || PAGE_BYTES_DEFAULT)
    const newest =
      first.readBigUInt64LE(TRANSACTION_AT) > second.readBigUInt64LE(TRANSACTION_AT) ? first : second
    const bytes = (newest.readBigUInt64LE(LAST_PAGE_AT) + 1n) * BigInt(newest.readUInt32LE(PAGE_BYTES_AT))
    if (bytes > BigInt(size)) throw new Error(`${path} is damaged: it has ${size} of ${bytes} bytes`)
  } finally {
    await file.close()
  }
}

async function metaAt(file: FileHandle, path: string, position: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(META_BYTES), 0, META_BYTES, position)
  if (bytesRead < META_BYTES || buffer.readUInt32LE(MAGIC_AT) !== MAGIC) {
    throw new Error(`${path} is damaged: it is no LMDB file`)
  }
  return buffer
}
