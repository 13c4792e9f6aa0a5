/** What tests of the log on disk have in common. */
import { cpSync, readdirSync, readFileSync, statSync, unlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Test } from 'tap'
import { DiskLog, type DiskLogOptions, type LogEntry } from '../../src/queue/embedded/disk-log.ts'
import { temporaryDirectory } from './helper.ts'

const READ_MS_MAX = 30_000
export const SEGMENT_BYTES = 8 * 1024 * 1024

/** Opens a log, which is closed with the test. */
export async function openLog(
  t: Test,
  path: string,
  options: Partial<DiskLogOptions> = {},
): Promise<DiskLog> {
  const log = await DiskLog.open({ path, segmentBytes: SEGMENT_BYTES, ...options })
  let closing: Promise<void> | undefined
  const close = log.close.bind(log)
  log.close = () => {
    closing ??= close()
    return closing
  }
  t.teardown(log.close)
  return log
}

/** An entry's number, and whether all of its body is as it was made by `bodyOf`. */
export function bodyOf(n: number, bytes = 20): Buffer {
  return Buffer.from(`${n}:`.padEnd(bytes, String.fromCharCode(97 + (n % 26))))
}

export function numberIn({ value }: LogEntry): number {
  const n = Number.parseInt(value.toString('latin1', 0, 12), 10)
  if (!bodyOf(n, value.length).equals(value)) throw new Error(`not as it was appended: ${value}`)
  return n
}

/** Reads what is behind a key, until that many events have come. */
export async function readEvents(log: DiskLog, events: number, after = log.dropped): Promise<LogEntry[]> {
  const entries: LogEntry[] = []
  let count = 0
  const deadline = setTimeout(() => {
    throw new Error(`of ${events} events ${count} are read`)
  }, READ_MS_MAX)
  for (;;) {
    const more = new Promise<void>(resolve => (log.readable = resolve))
    for (const entry of log.read(entries.at(-1)?.key ?? after)) {
      entries.push(entry)
      count += entry.count
    }
    if (count >= events) break
    await more
  }
  clearTimeout(deadline)
  return entries
}

/** All that is in a log, by number. */
export async function numbersIn(log: DiskLog): Promise<number[]> {
  return (await readEvents(log, log.events)).map(numberIn)
}

export function segmentFiles(path: string, pattern = /^\d{16}-.*\.log$/): string[] {
  return readdirSync(path)
    .filter(name => pattern.test(name))
    .sort()
    .map(name => join(path, name))
}

/** As a process that was killed leaves a directory. */
export function copyOf(t: Test, path: string): string {
  const copy = temporaryDirectory(t)
  cpSync(path, copy, { recursive: true })
  return copy
}

export function bytesOf(paths: readonly string[]): number {
  return paths.reduce((sum, path) => sum + statSync(path).size, 0)
}

export interface Made {
  readonly path: string
  readonly file: string
  readonly bytes: Buffer
  /** Where each record begins, and where the last one ends. */
  readonly offsets: readonly number[]
}

/**
 * A directory with one segment, whose records are numbered from 0, in groups of such sizes.
 *
 * @param isNoted whether the log was closed, so that it is noted that all of it was synced
 */
export async function makeSegment(t: Test, groups: readonly number[], isNoted: boolean): Promise<Made> {
  const path = temporaryDirectory(t)
  const log = await openLog(t, path)
  const offsets = [64]
  let n = 0
  for (const size of groups) {
    const bodies = Array.from({ length: size }, () => bodyOf(n, 8 + (n++ % 7)))
    await Promise.all(bodies.map((body, i) => log.append(body, 1 + (i % 3))))
    for (const { length } of bodies) offsets.push((offsets.at(-1) as number) + 28 + length)
  }
  await log.close()
  if (!isNoted) unlinkSync(join(path, 'dropped'))
  const [file = ''] = segmentFiles(path)
  return { path, file: basename(file), bytes: readFileSync(file), offsets }
}
