import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { until } from '../../test/services/wait.ts'
import { type EventCount, eventCount } from '../bodies.ts'
import { whenLogged } from '../drain.ts'
import { type ArchivedBatch, Fleet } from '../fleet.ts'
import { linkedCopy } from '../linked-copy.ts'
import { sendLoad } from '../load.ts'
import { makeFoldedLog } from '../make-log.ts'
import { BATCH_EVENTS } from '../options.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import type { Line, RowResult } from '../table.ts'

const WINDOWS = [1_000_000, 30_000_000]
const WINDOWS_SMOKE = [50_000]
const OPEN_MS_MAX = 300_000
const FIRST_MS_MAX = 60_000
/** 64 connections with a pause before each event send some thousands of events a second. */
const CONNECTIONS = 64
const PAUSE_MS = 10

interface Window {
  readonly ids: number
  readonly archive: string
  readonly takeovers: Takeover[]
  readonly flaws: string[]
}

interface Takeover {
  /** From the kill until the standby has archived all events that were received before the kill. */
  readonly ms: number
  /** Age, at the kill, of the oldest event that was not archived. */
  readonly oldestMs: number
  readonly filled: EventCount
}

/** Measures how long a standby takes to take over from a killed archiver. */
export async function takeover(site: Site): Promise<RowResult> {
  const { rounds, isSmoke, batchAgeMs, seconds } = site.options
  const sizes = site.options.windows ?? (isSmoke ? WINDOWS_SMOKE : WINDOWS)
  const windows: Window[] = []
  for (const ids of sizes) {
    const { path } = site.fresh('archive')
    await makeFoldedLog(path, ids)
    windows.push({ ids, archive: path, takeovers: [], flaws: [] })
  }
  for (let n = 1; n <= rounds; n++) {
    for (const each of windows) {
      const done = await killOne(site, each)
      each.takeovers.push(done)
      progress(`  ${nameOf(each)}: round ${n} of ${rounds}, ${Math.round(done.ms)} ms`)
    }
  }
  return {
    title: `A standby takes over (RabbitMQ, into a directory, load of ${seconds} s): from SIGKILL of the other archiver until all earlier events are archived`,
    goal: `at most 3 s plus the age of a batch (${batchAgeMs} ms), the same with any number of ids`,
    lines: windows.map(
      (each): Line => ({
        name: nameOf(each),
        ms: each.takeovers.map(({ ms }) => ms),
        flaws: each.flaws,
      }),
    ),
    notes: windows.map(
      each =>
        `${nameOf(each)}: at the kill, the age of the oldest event that was not archived was ${each.takeovers.map(({ oldestMs }) => Math.round(oldestMs)).join(', ')} ms`,
    ),
  }
}

function nameOf({ ids }: Window): string {
  return `frequency, ${ids.toLocaleString('en-US')} ids`
}

async function killOne(site: Site, window: Window): Promise<Takeover> {
  const { batchEvents = BATCH_EVENTS, batchAgeMs, seconds } = site.options
  const { path: archive } = site.fresh('archive')
  await site.discard(archive)
  await linkedCopy(window.archive, archive)
  const amqp = { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: site.queue().name }
  const ingest = site.frequency(['--role=ingest'], amqp)
  const env = {
    ...amqp,
    ARCHIVE_URL: archive,
    BATCH_EVENTS_MAX: String(batchEvents),
    BATCH_AGE_MS_MAX: String(batchAgeMs),
    LOG_LEVEL: 'debug',
  }
  const servers = [1, 2].map(() => site.frequency(['--role=archive'], env))
  await Promise.all(servers.map(server => whenLogged(server, 'The log is open.', OPEN_MS_MAX)))
  const bodies = site.bodies('clients')
  const url = `${await ingest.listening()}${bodies.path}`
  await site.settle(ingest, ...servers)
  const fleet = new Fleet(servers)
  const loading = sendLoad({ url, bodies: bodies.file, connections: CONNECTIONS, seconds, pauseMs: PAUSE_MS })
  await sleep((seconds * 1_000) / 2)
  // Until then it is not known which archiver is active.
  await until('one archiver has archived', FIRST_MS_MAX, () => fleet.events > 0)
  const active = eventsOf(fleet, 0) >= eventsOf(fleet, 1) ? 0 : 1
  const killedAt = Date.now()
  await servers[active]?.kill('SIGKILL').ended
  const { answers } = await loading
  const filled = eventCount(bodies, answers, CONNECTIONS)
  await sleep(batchAgeMs)
  const flaws = await whenAllThere(site, archive, filled)
  window.flaws.push(...flaws)
  const after = (fleet.batches[1 - active] ?? []).filter(({ time }) => time > killedAt)
  const firsts = await Promise.all(after.map(batch => firstReceivedAt(archive, batch)))
  const late = after.filter((_, n) => (firsts[n] as number) <= killedAt)
  for (const server of [ingest, ...servers.filter((_, n) => n !== active)]) await server.stop()
  await site.discard(archive)
  return {
    ms: Math.max(0, ...late.map(({ time }) => time - killedAt)),
    oldestMs: killedAt - Math.min(killedAt, ...firsts),
    filled,
  }
}

function eventsOf({ batches }: Fleet, server: number): number {
  return (batches[server] ?? []).reduce((sum, { events }) => sum + events, 0)
}

/** Reads the archive until all events are there. The log lines are not enough: the killed archiver may have stored a batch without logging it. */
async function whenAllThere(site: Site, archive: string, filled: EventCount): Promise<string[]> {
  let flaws: string[] = []
  for (let attempt = 0; attempt < 10; attempt++) {
    await sleep(site.options.batchAgeMs * 2)
    flaws = await site.flawsOfArchive(archive, filled)
    if (flaws.length === 0) break
  }
  return flaws
}

async function firstReceivedAt(archive: string, { key }: ArchivedBatch): Promise<number> {
  const lines = gunzipSync(await readFile(join(archive, key)))
    .toString()
    .split('\n')
    .slice(0, -1)
  return Math.min(...lines.map(line => Date.parse(JSON.parse(line).receivedAt)))
}
