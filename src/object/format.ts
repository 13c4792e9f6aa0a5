import { PassThrough, type Transform } from 'node:stream'
import * as zlib from 'node:zlib'
import type { Config } from '../config/config.ts'
import { ConfigInvalid } from '../errors.ts'

export type ArchiveFormat = Config['archiveFormat']
export type ArchiveCompression = Config['archiveCompression']

/** The bytes around the events of an object. Each event is JSON on one line. */
export interface Framing {
  readonly before: Buffer
  readonly between: Buffer
  readonly after: Buffer
  /** Whether events that are joined by line feeds can be written without a change. */
  readonly joinsLines: boolean
}

const FRAMINGS: Record<ArchiveFormat, Framing> = {
  ndjson: { before: Buffer.from(''), between: Buffer.from('\n'), after: Buffer.from('\n'), joinsLines: true },
  json: {
    before: Buffer.from('[\n'),
    between: Buffer.from(',\n'),
    after: Buffer.from('\n]\n'),
    joinsLines: false,
  },
}

const COMPRESSION_EXTENSIONS: Record<ArchiveCompression, string> = { gzip: '.gz', none: '', zstd: '.zst' }

/** Level 1 is several times as fast as the default level 6. Objects are about 10 % larger. */
export const GZIP_LEVEL = 1
const DECOMPRESSED_BYTES_MIN = 16 * 1024

export function framingOf(format: ArchiveFormat): Framing {
  return FRAMINGS[format]
}

/** `.ndjson.gz` */
export function extensionOf(format: ArchiveFormat, compression: ArchiveCompression): string {
  return `.${format}${COMPRESSION_EXTENSIONS[compression]}`
}

/**
 * The bytes of an object without events. They are the same on every platform and zlib version: the content is in one
 * uncompressed block (RFC 1952 and RFC 1951, section 3.2.4; RFC 8878, section 3.1.1).
 *
 * @param key tells the format and the compression
 */
export function emptyObject(key: string): Buffer {
  const content = Buffer.from(/\.json(\.|$)/.test(key) ? '[\n]\n' : '')
  const { length } = content
  if (key.endsWith('.gz')) {
    const ends = Buffer.alloc(8)
    ends.writeUInt32LE(zlib.crc32(content))
    ends.writeUInt32LE(length, 4)
    const head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]
    return Buffer.concat([Buffer.from([...head, 1, length, 0, ~length & 0xff, 0xff]), content, ends])
  }
  // A frame with a single segment of `length` bytes, and one raw block, the last.
  if (key.endsWith('.zst'))
    return Buffer.concat([
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x20, length, (length << 3) | 1, 0, 0]),
      content,
    ])
  return content
}

export function createCompressor(compression: ArchiveCompression): Transform {
  if (compression === 'gzip') return zlib.createGzip({ level: GZIP_LEVEL })
  if (compression === 'zstd') return zlibWithZstd().createZstdCompress()
  return new PassThrough()
}

/** @param key tells the compression */
export function createDecompressor(key: string): Transform {
  if (key.endsWith('.gz')) return zlib.createGunzip()
  if (key.endsWith('.zst')) return zlibWithZstd().createZstdDecompress()
  return new PassThrough()
}

/**
 * Decompresses a whole object.
 *
 * @param key tells the compression
 * @returns undefined if the object is damaged, or has more than `bytesMax` when it is decompressed
 */
export async function decompressSmall(
  key: string,
  stored: Buffer,
  bytesMax: number,
): Promise<Buffer | undefined> {
  const decompress = key.endsWith('.gz')
    ? zlib.gunzip
    : key.endsWith('.zst')
      ? zlibWithZstd().zstdDecompress
      : undefined
  if (decompress === undefined) return stored
  // The last bytes of a gzip file are the length of what it was made of (RFC 1952, section 2.3.1).
  const length = key.endsWith('.gz') && stored.length > 4 ? stored.readUInt32LE(stored.length - 4) : bytesMax
  const chunkSize = Math.max(DECOMPRESSED_BYTES_MIN, Math.min(length, bytesMax) + 1)
  return new Promise(resolve => {
    decompress(stored, { chunkSize, maxOutputLength: bytesMax }, (error, bytes) =>
      resolve(error === null ? bytes : undefined),
    )
  })
}

/** @throws ConfigInvalid if this Node.js cannot decompress the object */
export function assertDecompressible(key: string): void {
  if (!key.endsWith('.zst') || 'createZstdDecompress' in zlib) return
  throw new ConfigInvalid(
    `${key} is compressed with zstd. Reading it needs Node 22.15 or later, but this is ${process.version}.`,
  )
}

/** Node has zstd from 22.15 on, but the types here are those of Node 20. The config refuses zstd on an older Node. */
function zlibWithZstd() {
  return zlib as unknown as {
    createZstdCompress(): Transform
    createZstdDecompress(): Transform
    zstdDecompress: typeof zlib.gunzip
  }
}
