import { closeSync, openSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { devNull } from 'node:os'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** lmdb as the one file that there is for `require`: its modules would keep a start waiting. */
export const { open: openLmdb }: typeof import('lmdb') = createRequire(import.meta.url)('lmdb')

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
/** LMDB wants three to open a file; the rest is for other threads that open something meanwhile. */
const DESCRIPTORS_MIN = 8

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

/**
 * To be called before LMDB opens a file: with one or two file descriptors left it ends the process.
 *
 * @throws Error (EMFILE, ENFILE) where there are too few.
 */
export function assertDescriptorsLeft(): void {
  const descriptors: number[] = []
  try {
    while (descriptors.length < DESCRIPTORS_MIN) descriptors.push(openSync(devNull, 'r'))
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor)
  }
}

/** What the disk says: lmdb rejects a promise with it that is a member of its own error, in the same turn. */
export async function causeOf(error: unknown): Promise<unknown> {
  const { commitError } = error as { commitError?: Promise<never> }
  if (commitError === undefined) return error
  return await Promise.race([commitError.catch(cause => cause), nextTurn(error)])
}

async function metaAt(file: FileHandle, path: string, position: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(META_BYTES), 0, META_BYTES, position)
  if (bytesRead < META_BYTES || buffer.readUInt32LE(MAGIC_AT) !== MAGIC) {
    throw new Error(`${path} is damaged: it is no LMDB file`)
  }
  return buffer
}
