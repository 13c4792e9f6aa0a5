/**
 * Recovery of a log's files (disk-log-format.ts) after a crash, a power cut or damage.
 *
 * A torn tail is the rest of writes that were never synced. No client got a confirmation for them, so a torn tail
 * is skipped without a message. Everything else that cannot be read is damage: it is reported, and the file is
 * kept. Recovery distinguishes the two as follows:
 *
 *  1. Records are written in groups, one group at a time. The next group is written only after the sync of the
 *     group before it has succeeded. After a failed write or sync, nothing is appended to that file any more. So
 *     at most one group is not synced, and it is the last one in its file.
 *  2. Each record stores the offset at which its group began. The file was synced up to that offset when the
 *     record was written. So each valid record is a witness: all bytes before that offset were on disk. This holds
 *     also if the record itself was never synced, and in whatever order the parts of its group reached the disk.
 *  3. There are two more witnesses: the header of the next segment, and the file `dropped` (dropped-note.ts). Both
 *     name a segment and its synced size, and both are written after that sync.
 *  4. Let S be the largest offset that a witness states for a file. A gap is a range without a valid record. If a
 *     gap begins before S, its bytes were synced once: it is damage. If it begins at S or later, it is in the last
 *     group or after it: it is torn. Valid records are kept wherever they are. Those in the last group may be
 *     unconfirmed, and then the client sends them again. To drop them could lose confirmed events.
 *
 * Recovery cannot detect damage to the very last group while it has no witness: it looks like a torn tail. The next
 * append, the next acknowledgement and a close write a witness.
 *
 * A record is valid if its mark, offset and checksum match the file's nonce. Zeros, garbage, older contents of the
 * same disk blocks and bytes from a client do not match. A gap ends at the next valid record, which is found by
 * its mark.
 *
 * Assumptions: a write changes no bytes outside its range, also in a power cut (a disk writes a sector whole or
 * not at all). Synced bytes stay, unless the disk is broken.
 */

import { fstatSync } from 'node:fs'
import { basename } from 'node:path'
import { GROUP_EVENTS_MAX } from '../../event/event-group.ts'
import { HEADER_BYTES, type LogRecord, type Predecessor, readHeader, readRecord } from './disk-log-format.ts'
import type { Gap, LogSegment } from './disk-log-segment.ts'

/** A range of a file that was durable once, and cannot be read any more. */
export interface Damage {
  /** Name in the log's directory. */
  readonly file: string
  readonly from: number
  readonly to: number
  /** Upper limit of the lost events; undefined if unknown. */
  readonly events: number | undefined
}

/** A gap that a scan has found. */
export interface Missing extends Gap {
  /** Lost events; undefined if unknown. */
  readonly events: number | undefined
  /** Key of the next record; undefined if none follows. */
  readonly nextKey: number | undefined
}

export interface Scan {
  /** Undefined if the header is damaged. */
  readonly before: Predecessor | undefined
  readonly records: number
  readonly lastKey: number
  /** Events in all records. */
  readonly events: number
  /** End of the last record. */
  readonly end: number
  /** Synced size of the file, according to its own records. */
  readonly synced: number
  /** Gaps before and between the records. */
  readonly missing: readonly Missing[]
  /** Size of the file. */
  readonly bytes: number
}

/** Called with each record of a scan. The record's body is valid only during the call. */
export type RecordVisitor = (segment: LogSegment, record: LogRecord, offset: number) => void

/** Number of events in the record with this key (disk-log.ts). */
export function eventsIn(key: number): number {
  return (key % GROUP_EVENTS_MAX) + 1
}

/** A buffer that is reused for one file after the other. */
export interface Scratch {
  buffer: Buffer
}

/** Scans a whole file. @throws Error if another version of frequency wrote it, or it cannot be read */
export async function scanSegment(
  segment: LogSegment,
  visit: RecordVisitor,
  scratch: Scratch = { buffer: Buffer.alloc(0) },
): Promise<Scan> {
  const size = await segment.use(async fd => fstatSync(fd).size)
  if (size > scratch.buffer.length) scratch.buffer = Buffer.allocUnsafeSlow(size)
  const file = segment.readSync(0, size, scratch.buffer)
  const before = readHeader(file, segment)
  return { before, bytes: size, ...findRecords(segment, file, HEADER_BYTES, visit) }
}

/** Finds all valid records of a file from an offset on. */
export function findRecords(
  segment: LogSegment,
  file: Buffer,
  from: number,
  visit: RecordVisitor,
): Omit<Scan, 'before' | 'bytes'> {
  const missing: Missing[] = []
  let [records, events, lastKey, synced, end, at] = [0, 0, 0, 0, from, from]
  while (at < file.length) {
    const record = readRecord(file, at, segment.seal, 0, file.length)
    if (record === undefined || typeof record === 'number') {
      const next = file.indexOf(segment.seal.markBytes, at + 1)
      at = next === -1 ? file.length : next
      continue
    }
    if (at > end)
      missing.push({ from: end, to: at, events: record.eventsBefore - events, nextKey: record.key })
    visit(segment, record, at)
    records++
    lastKey = record.key
    events = record.eventsBefore + eventsIn(record.key)
    synced = Math.max(synced, record.synced)
    end = record.end
    at = end
  }
  return { records, lastKey, events, end, synced, missing }
}

export interface Judgement {
  readonly damages: readonly Damage[]
  /** Start of the first torn gap; the end of the last record if there is none. */
  readonly intactTo: number
}

/**
 * Copies the result of a scan into its segment, and finds the damage in it.
 *
 * @param others synced size and events of the segment according to other witnesses (Infinity: all of it was synced)
 * @param dropped the log is dropped up to this key, so missing records up to it are not damage
 */
export function applyScan(
  segment: LogSegment,
  scan: Scan,
  others: { synced: number; events: number | undefined },
  dropped: number,
): Judgement {
  const synced = Math.max(scan.synced, others.synced)
  const missing = [...missingHeader(scan), ...scan.missing, ...missingEnd(scan, synced, others.events)]
  const damages: Damage[] = []
  let intactTo = scan.end
  for (const { from, to, events, nextKey = Number.POSITIVE_INFINITY } of missing) {
    if (from > 0 && to < scan.end) segment.gaps.set(from, to)
    if (from >= synced) intactTo = Math.min(intactTo, from)
    else if (nextKey > dropped) damages.push({ file: basename(segment.path), from, to, events })
  }
  segment.lastKey = scan.lastKey
  segment.events = scan.events
  segment.end = scan.end
  segment.synced = Number.isFinite(synced) ? synced : scan.end
  segment.bytes = scan.bytes
  segment.isDamaged = damages.length > 0
  return { damages, intactTo }
}

function missingHeader({ before, records, lastKey }: Scan): Missing[] {
  if (before !== undefined) return []
  return [{ from: 0, to: HEADER_BYTES, events: 0, nextKey: records > 0 ? lastKey : undefined }]
}

/** The gap after the last record, up to the file's end now or its synced size, whichever is larger. */
function missingEnd(
  { end, bytes, events }: Scan,
  synced: number,
  eventsWritten: number | undefined,
): Missing[] {
  const to = Number.isFinite(synced) ? Math.max(bytes, synced) : bytes
  if (to <= end) return []
  const lost = eventsWritten === undefined ? undefined : Math.max(0, eventsWritten - events)
  return [{ from: end, to, events: lost, nextKey: undefined }]
}
