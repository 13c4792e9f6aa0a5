/**
 * What the files of a log on disk hold (disk-log.ts), byte by byte. All numbers are little-endian.
 *
 * A segment file is a header, then records. Its name has a random nonce, which is nowhere else:
 *
 *     <first key, or an ordinal: 16 digits>-<nonce: 16 hex digits>.log
 *
 * Half of the nonce is the mark that each record begins with. The other half, with the record's offset,
 * is the seed of its checksum. So what a client sends cannot look like a record, nor can what an older file
 * left in the same blocks, nor a record at another offset.
 *
 *     header   0  16  MAGIC                        record   0  4  mark
 *             16   4  layout                                4  4  CRC-32 of all that follows
 *             24   8  first key, a double                   8  8  key, a double
 *             32   8  first key of the segment before      16  4  bytes of the body
 *             40   4  how far that one was synced          20  4  how far this file was synced
 *             44   4  events in that one                   24  4  events before it in this file
 *             60   4  CRC-32 of all before                 28     body
 *
 * CRC-32 and not CRC-32C, since Node has it natively: 6.3 GB/s here, against 0.5 GB/s for the best in JavaScript.
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
  'another version of frequency wrote it: let that version archive what is in it first, then delete its files'

/** What makes the records of one file its own. */
export interface Seal {
  readonly mark: number
  readonly markBytes: Buffer
  readonly seed: number
}

export interface SegmentName {
  readonly firstKey: number
  readonly seal: Seal
}

/** What a segment knows of the one before it. */
export interface Predecessor {
  readonly firstKey: number
  /** All before this offset was synced. */
  readonly synced: number
  readonly events: number
}

export interface LogRecord {
  readonly key: number
  readonly body: Buffer
  /** Where the record ends in the file. */
  readonly end: number
  /** When it was written, all before this offset was synced. */
  readonly synced: number
  /** In records before it in the file. */
  readonly eventsBefore: number
}

/** @param prefix tells logs in one directory apart */
export function createSegmentName(prefix: string, firstKey: number): SegmentName & { name: string } {
  const nonce = randomBytes(8)
  const name = `${prefix}${String(firstKey).padStart(16, '0')}-${nonce.toString('hex')}.log`
  return { name, firstKey, seal: sealOf(nonce) }
}

/** Undefined where the file is no segment of that log. */
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
 * Undefined where the header is damaged.
 *
 * @throws Error where another version wrote it.
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

/** @returns the offset in `target` behind the record */
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
 * The record at `at` in a block of a file that begins at `blockOffset`. Where the block ends before the record
 * does: how many bytes that record has, if it is one. Undefined where there is no record.
 *
 * @param limit where the file ends
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

/** Two seeds give two checksums to the same bytes, so an offset of its own is checked as well. */
function checksum(buffer: Buffer, start: number, end: number, { seed }: Seal, offset: number): number {
  return crc32(buffer.subarray(start, end), (seed ^ offset) >>> 0)
}

function sealOf(nonce: Buffer): Seal {
  return { mark: nonce.readUInt32LE(0), markBytes: nonce.subarray(0, 4), seed: nonce.readUInt32LE(4) }
}
