import { PassThrough, type Transform } from 'node:stream'
import * as zlib from 'node:zlib'
import type { Config } from '../config.ts'
import { ConfigInvalid } from '../errors.ts'

export type ArchiveFormat = Config['archiveFormat']
export type ArchiveCompression = Config['archiveCompression']

/** What stands around the events of an object, each of which is JSON on one line. */
export interface Framing {
  readonly before: Buffer
  readonly between: Buffer
  readonly after: Buffer
  /** Whether events that come a line each are joined already as they are to be. */
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

/** Level 1 is several times as fast as the default of 6, for objects about a tenth larger. */
const GZIP_LEVEL = 1

export function framingOf(format: ArchiveFormat): Framing {
  return FRAMINGS[format]
}

/** `.ndjson.gz` */
export function extensionOf(format: ArchiveFormat, compression: ArchiveCompression): string {
  return `.${format}${COMPRESSION_EXTENSIONS[compression]}`
}

export function createCompressor(compression: ArchiveCompression): Transform {
  if (compression === 'gzip') return zlib.createGzip({ level: GZIP_LEVEL })
  if (compression === 'zstd') return zlibWithZstd().createZstdCompress()
  return new PassThrough()
}

/** Undoes what `createCompressor` did to the object of this key. */
export function createDecompressor(key: string): Transform {
  if (key.endsWith('.gz')) return zlib.createGunzip()
  if (key.endsWith('.zst')) return zlibWithZstd().createZstdDecompress()
  return new PassThrough()
}

/** @throws ConfigInvalid where this Node cannot unpack the object of this key. */
export function assertDecompressible(key: string): void {
  if (!key.endsWith('.zst') || 'createZstdDecompress' in zlib) return
  throw new ConfigInvalid(
    `${key} is compressed with zstd: to read it takes Node 22.15 or later, and this is ${process.version}.`,
  )
}

/** zstd came with Node 22.15, and the types here are those of Node 20; the config refuses it on an older Node. */
function zlibWithZstd() {
  return zlib as unknown as { createZstdCompress(): Transform; createZstdDecompress(): Transform }
}
