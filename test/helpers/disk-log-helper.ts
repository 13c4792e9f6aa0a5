/** Helpers for tests of the log on disk. */
import { cpSync, readdirSync, readFileSync, statSync, unlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Test } from 'tap'
import { DiskLog, type DiskLogOptions, type LogEntry } from '../../src/queue/embedded/disk-log.ts'
import { temporaryDirectory } from './helper.ts'

const READ_MS_MAX = 30_000
export const SEGMENT_BYTES = 8 * 1024 * 1024

/** Opens a log, and closes it at the end of the test. */
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

/** Returns the body of entry `n`, in which each byte follows from `n` and `bytes`. */
export function bodyOf(n: number, bytes = 20): Buffer {
  return Buffer.from(`${n}:`.padEnd(bytes, String.fromCharCode(97 + (n % 26))))
}

/** Returns the number of an entry. @throws Error if the body is not the one that bodyOf() made */
export function numberIn({ value }: LogEntry): number {
  const n = Number.parseInt(value.toString('latin1', 0, 12), 10)
  if (!bodyOf(n, value.length).equals(value)) throw new Error(`not as it was appended: ${value}`)
  return n
}

/** Reads the entries after the key `after`, until they have at least this number of events. @throws Error after 30 seconds */
export async function readEvents(log: DiskLog, events: number, after = log.dropped): Promise<LogEntry[]> {
  const entries: LogEntry[] = []
  let count = 0
  const deadline = setTimeout(() => {
    throw new Error(`${count} of ${events} events were read in ${READ_MS_MAX} ms`)
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

/** Resolves to the numbers of all entries. */
export async function numbersIn(log: DiskLog): Promise<number[]> {
  return (await readEvents(log, log.events)).map(numberIn)
}

export function segmentFiles(path: string, pattern = /^\d{16}-.*\.log$/): string[] {
  return readdirSync(path)
    .filter(name => pattern.test(name))
    .sort()
    .map(name => join(path, name))
}

/** Copies the directory of an open log, as a killed process would leave it. */
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
  /** Offset of each record, and of the end of the last one. */
  readonly offsets: readonly number[]
}

/**
 * Makes a directory with one segment. Its records are numbered from 0.
 *
 * @param groups how many records are appended at the same time, for each group
 * @param isNoted whether to keep the file `dropped`, in which a closed log notes that everything was synced
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
