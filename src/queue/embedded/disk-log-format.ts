/**
 * The file format of a log on disk (disk-log.ts), byte by byte. All numbers are little-endian.
 *
 * A segment file has a header, then records. Its name has a random nonce, which is stored nowhere else:
 *
 *     <first key, or an ordinal: 16 digits>-<nonce: 16 hex digits>.log
 *
 * Each record begins with one half of the nonce, its mark. The other half, combined with the record's offset, is the seed
 * of its checksum. So three things cannot pass for a record: bytes that a client sends, bytes of an older file in
 * the same disk blocks, and a record at another offset.
 *
 *     header   0  16  MAGIC                        record   0  4  mark
 *             16   4  layout                                4  4  CRC-32 of all bytes after it
 *             24   8  first key, a double                   8  8  key, a double
 *             32   8  first key of previous segment        16  4  size of the body
 *             40   4  synced size of that segment          20  4  synced size of this file, when written
 *             44   4  events in that segment               24  4  events in earlier records of this file
 *             60   4  CRC-32 of all bytes before it        28     body
 *
 * CRC-32 and not CRC-32C, because Node has it built in: measured 6.3 GB/s, and 0.5 GB/s for CRC-32C in JavaScript.
 */

import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'

const LAYOUT = 3
const MAGIC = Buffer.from('frequency log\n\0\0', 'latin1')
const HEADER_CRC_AT = 60
const NAME = /^(\d{16})-([0-9a-f]{16})\.log$/

export const HEADER_BYTES = 64
export const RECORD_BYTES = 28

export const OTHER_VERSION =
  'another version of frequency wrote it. Let that version archive the events in it first, then delete its files'

/** Both halves of a file's nonce. Only records with this seal belong to the file. */
export interface Seal {
  readonly mark: number
  readonly markBytes: Buffer
  readonly seed: number
}

export interface SegmentName {
  readonly firstKey: number
  readonly seal: Seal
}

/** The state of the previous segment, as a segment's header records it. */
export interface Predecessor {
  readonly firstKey: number
  /** All bytes before this offset were synced. */
  readonly synced: number
  readonly events: number
}

export interface LogRecord {
  readonly key: number
  readonly body: Buffer
  /** Offset of the record's end in the file. */
  readonly end: number
  /** All bytes before this offset were synced when the record was written. */
  readonly synced: number
  /** Events in earlier records of the file. */
  readonly eventsBefore: number
}

/** A name with a new nonce. @param prefix distinguishes logs in one directory */
export function createSegmentName(prefix: string, firstKey: number): SegmentName & { name: string } {
  const nonce = randomBytes(8)
  const name = `${prefix}${String(firstKey).padStart(16, '0')}-${nonce.toString('hex')}.log`
  return { name, firstKey, seal: sealOf(nonce) }
}

/** @returns undefined if the file is not a segment of that log */
export function parseSegmentName(prefix: string, name: string): SegmentName | undefined {
  const match = name.startsWith(prefix) ? NAME.exec(name.slice(prefix.length)) : null
  if (match === null) return undefined
  return { firstKey: Number(match[1]), seal: sealOf(Buffer.from(match[2] as string, 'hex')) }
}

export function writeHeader(
  target: Buffer,
  { firstKey, seal }: SegmentName,
  before: Predecessor | undefined,
): void {
  target.fill(0, 0, HEADER_BYTES)
  MAGIC.copy(target)
  target.writeUInt32LE(LAYOUT, 16)
  target.writeDoubleLE(firstKey, 24)
  target.writeDoubleLE(before?.firstKey ?? 0, 32)
  target.writeUInt32LE(before?.synced ?? 0, 40)
  target.writeUInt32LE(before?.events ?? 0, 44)
  target.writeUInt32LE(crc32(target.subarray(0, HEADER_CRC_AT), seal.seed), HEADER_CRC_AT)
}

/**
 * Reads the header of a segment.
 *
 * @returns undefined if the header is damaged
 * @throws Error if another version of frequency wrote it.
 */
export function readHeader(file: Buffer, { firstKey, seal }: SegmentName): Predecessor | undefined {
  const isIntact =
    file.length >= HEADER_BYTES &&
    MAGIC.equals(file.subarray(0, MAGIC.length)) &&
    file.readUInt32LE(HEADER_CRC_AT) === crc32(file.subarray(0, HEADER_CRC_AT), seal.seed)
  if (!isIntact) return undefined
  if (file.readUInt32LE(16) !== LAYOUT) throw new Error(OTHER_VERSION)
  if (file.readDoubleLE(24) !== firstKey) return undefined
  return {
    firstKey: file.readDoubleLE(32),
    synced: file.readUInt32LE(40),
    events: file.readUInt32LE(44),
  }
}

/** @returns the record's end in `target` */
export function writeRecord(
  target: Buffer,
  at: number,
  seal: Seal,
  offset: number,
  record: Pick<LogRecord, 'key' | 'body' | 'synced' | 'eventsBefore'>,
): number {
  const end = at + RECORD_BYTES + record.body.length
  target.writeUInt32LE(seal.mark, at)
  target.writeDoubleLE(record.key, at + 8)
  target.writeUInt32LE(record.body.length, at + 16)
  target.writeUInt32LE(record.synced, at + 20)
  target.writeUInt32LE(record.eventsBefore, at + 24)
  record.body.copy(target, at + RECORD_BYTES)
  target.writeUInt32LE(checksum(target, at + 8, end, seal, offset), at + 4)
  return end
}

/**
 * Reads the record at `at` in a block. The block begins at `blockOffset` of its file.
 *
 * @param limit the end of the file
 * @returns undefined if no valid record is there. A number if the block ends before the record: the size in bytes
 * that the record has, if it is valid.
 */
export function readRecord(
  block: Buffer,
  at: number,
  seal: Seal,
  blockOffset: number,
  limit: number,
): LogRecord | number | undefined {
  const offset = blockOffset + at
  if (offset + RECORD_BYTES > limit) return undefined
  if (at + RECORD_BYTES > block.length) return RECORD_BYTES
  if (block.readUInt32LE(at) !== seal.mark) return undefined
  const bytes = RECORD_BYTES + block.readUInt32LE(at + 16)
  if (offset + bytes > limit) return undefined
  const end = at + bytes
  if (end > block.length) return bytes
  if (block.readUInt32LE(at + 4) !== checksum(block, at + 8, end, seal, offset)) return undefined
  return {
    key: block.readDoubleLE(at + 8),
    body: block.subarray(at + RECORD_BYTES, end),
    end: offset + bytes,
    synced: block.readUInt32LE(at + 20),
    eventsBefore: block.readUInt32LE(at + 24),
  }
}

/** The seed depends on the offset: the same bytes at another offset have another checksum. */
function checksum(buffer: Buffer, start: number, end: number, { seed }: Seal, offset: number): number {
  return crc32(buffer.subarray(start, end), (seed ^ offset) >>> 0)
}

function sealOf(nonce: Buffer): Seal {
  return { mark: nonce.readUInt32LE(0), markBytes: nonce.subarray(0, 4), seed: nonce.readUInt32LE(4) }
}
