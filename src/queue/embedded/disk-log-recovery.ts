/**
 * What a log's files (disk-log-format.ts) hold after a crash, a power loss or damage.
 *
 * A torn tail is what the last writes left that were never synced. Nobody was told that they are durable, so
 * it is passed over in silence. Damage is everything else that cannot be read: it is reported, and the file
 * is kept. This is how they are told apart:
 *
 *  1. Records are written in groups, one group at a time: the next one is written only when the sync of the
 *     one before it has succeeded. After a write or a sync that failed, nothing is appended to that file any
 *     more. So at any moment one group at the most is not synced, and it is the last in its file.
 *  2. Each record says where its group began, which is how far the file was synced by then. So a valid record
 *     is a witness: all before that offset was on disk when the record was written. It stays a witness when
 *     it was not synced itself, in whatever order the parts of its group reached the disk.
 *  3. There are two more witnesses: the header of the next segment, and the note of what is dropped
 *     (dropped-note.ts). Both name a segment and say how far it was synced, and are written after that sync.
 *  4. Let S be the farthest offset that a witness names. A stretch without a valid record that begins before
 *     S was synced and whole once: it is damage. One that begins at S or behind it is in the last group, or
 *     behind it: it is torn. Valid records are kept wherever they are. In the last group they may not have
 *     been confirmed, and then a client sends them again; to drop them could lose some that were confirmed.
 *
 * What a witness cannot tell: damage to the last group of all, while it has no witness yet. It looks like a
 * torn tail. The next append, the next acknowledgement and a close are witnesses.
 *
 * A record is valid by its mark, its offset and its checksum, with a nonce of the file: zeros, garbage, older
 * contents of the same blocks and what a client sends are none. A stretch without one ends where the next
 * valid record begins, which is searched for by its mark.
 *
 * Assumed: a write does not change bytes outside of it, whatever happens meanwhile (a disk writes a sector
 * whole or not at all); what was synced stays, unless the disk is broken.
 */

import { fstatSync } from 'node:fs'
import { basename } from 'node:path'
import { GROUP_EVENTS_MAX } from '../../event/event-group.ts'
import { HEADER_BYTES, type LogRecord, type Predecessor, readHeader, readRecord } from './disk-log-format.ts'
import type { Gap, LogSegment } from './disk-log-segment.ts'

/** Something in the files that was durable, and cannot be read any more. */
export interface Damage {
  /** Name in the log's directory. */
  readonly file: string
  readonly from: number
  readonly to: number
  /** Events that are lost, at most; undefined where nobody can tell. */
  readonly events: number | undefined
}

/** A stretch without a record. */
export interface Missing extends Gap {
  /** Undefined where nobody can tell. */
  readonly events: number | undefined
  /** Of the record behind it; undefined where there is none. */
  readonly nextKey: number | undefined
}

export interface Scan {
  /** Undefined where the header is damaged. */
  readonly before: Predecessor | undefined
  readonly records: number
  readonly lastKey: number
  /** Of all records. */
  readonly events: number
  /** Behind the last record. */
  readonly end: number
  /** How far the file was synced, as its own records say. */
  readonly synced: number
  /** Between the records. */
  readonly missing: readonly Missing[]
  readonly bytes: number
}

/** A record that a scan has come to; its body is only there until the next one. */
export type RecordVisitor = (segment: LogSegment, record: LogRecord, offset: number) => void

export function eventsIn(key: number): number {
  return (key % GROUP_EVENTS_MAX) + 1
}

/** Where files are read to, one after the other. */
export interface Scratch {
  buffer: Buffer
}

/** Reads all of a file. @throws Error where another version wrote it, or it cannot be read */
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

/** Finds the records of a file from an offset on, at which one should begin. */
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
  /** No torn stretch is before this offset. */
  readonly intactTo: number
}

/**
 * Takes over what a scan has found, and tells what of it is damage.
 *
 * @param others how far the segment was synced, as others say (Infinity: all of it), and the events in it
 * @param dropped what is missing up to this key is not missed
 */
export function takeOver(
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

/** What is behind the last record, or was once. */
function missingEnd({ end, bytes, events }: Scan, synced: number, eventsOnce: number | undefined): Missing[] {
  const to = Number.isFinite(synced) ? Math.max(bytes, synced) : bytes
  if (to <= end) return []
  const lost = eventsOnce === undefined ? undefined : Math.max(0, eventsOnce - events)
  return [{ from: end, to, events: lost, nextKey: undefined }]
}
