/**
 * Measures the log on disk alone: appends by 64 publishers at the same time, draining, and memory.
 *
 *     node --import=tsx bench/disk-log.ts [DIRECTORY] [SOURCES]
 *
 * DIRECTORY is on the disk to measure (default: the directory for temporary files). SOURCES is the `src` of another
 * checkout, to compare with. Prints a line of JSON for each number of events in an append.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { memory } from './process-figures.ts'

const PUBLISHERS = 64
const EVENT_BYTES = 250
const ID_BYTES = 16
const SEGMENT_BYTES = 8 * 1024 * 1024
const APPEND_MS = 3_000
const DROP_EVERY = 1_000

type Log = import('../src/queue/embedded/disk-log.ts').DiskLog

const [directory = tmpdir(), sources = join(import.meta.dirname, '..', 'src')] = process.argv.slice(2)
const { DiskLog }: typeof import('../src/queue/embedded/disk-log.ts') = await import(
  pathToFileURL(resolve(sources, 'queue/embedded/disk-log.ts')).href
)

for (const events of [1, 64]) {
  const path = mkdtempSync(join(directory, 'frequency-bench-'))
  try {
    const log = await DiskLog.open({ path, segmentBytes: SEGMENT_BYTES })
    const filling = await fill(log, events)
    await log.close()
    const opening = performance.now()
    const again = await DiskLog.open({ path, segmentBytes: SEGMENT_BYTES })
    const openMs = Math.round(performance.now() - opening)
    const MiB = Math.round(again.bytes / 2 ** 20)
    const draining = await drain(again)
    await again.close()
    process.stdout.write(
      `${JSON.stringify({ events, ...filling, MiB, openMs, ...draining, peakMiB: Math.round(memory(process.pid).peakMib) })}\n`,
    )
  } finally {
    rmSync(path, { recursive: true })
  }
}

async function fill(log: Log, events: number) {
  const body = Buffer.alloc(events * (EVENT_BYTES + ID_BYTES + 1), 'x')
  const endsAt = performance.now() + APPEND_MS
  const stop = measure()
  let appends = 0
  const publishers = Array.from({ length: PUBLISHERS }, async () => {
    while (performance.now() < endsAt) {
      await log.append(Buffer.from(body), events)
      appends++
    }
  })
  await Promise.all(publishers)
  const { seconds, cpuUs } = stop()
  return {
    appendsPerSecond: Math.round(appends / seconds),
    appendCpuUs: Number((cpuUs / appends).toFixed(1)),
  }
}

/** Reads and drops all entries, 1,000 at a time, as an archiver drops batches. */
async function drain(log: Log) {
  const total = log.events
  const stop = measure()
  let records = 0
  let [cursor, undropped] = [log.dropped, 0]
  while (log.events > undropped) {
    const more = new Promise<void>(done => (log.readable = done))
    let read = 0
    for (const { key, count } of log.read(cursor)) {
      cursor = key
      undropped += count
      records++
      if (++read === DROP_EVERY) break
    }
    if (undropped > 0 && (read === DROP_EVERY || log.events === undropped)) {
      void log.dropThrough(cursor, undropped)
      undropped = 0
    }
    if (read === 0) await more
    else await new Promise(setImmediate)
  }
  const { seconds, cpuUs } = stop()
  return {
    drainRecordsPerSecond: Math.round(records / seconds),
    drainEventsPerSecond: Math.round(total / seconds),
    drainCpuUs: Number((cpuUs / records).toFixed(2)),
  }
}

function measure() {
  const startedAt = performance.now()
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return { seconds: (performance.now() - startedAt) / 1_000, cpuUs: user + system }
  }
}
