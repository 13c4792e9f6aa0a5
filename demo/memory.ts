/**
 * Measures the memory that one large batch takes: posts some GiB of events, which become one object on a real S3
 * server, and prints the program's peak of resident memory (VmHWM of Linux).
 *
 *     node --import=tsx demo/memory.ts                    2 GiB through the embedded queue
 *     node --import=tsx demo/memory.ts --queue=rabbitmq   2 GiB through RabbitMQ
 *
 * Exits with 1 if the peak is above 250 MiB, or if an event is missing.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { parseArgs } from 'node:util'
import { buildProgram } from '../build.ts'
import { readConfig } from '../src/config/config.ts'
import { createDecompressor } from '../src/object/format.ts'
import { openStore } from '../src/store/open-store.ts'
import type { ObjectStore } from '../src/store/store.ts'
import { post } from '../test/helpers/post.ts'
import { ensureServers } from '../test/services/install.ts'
import { BUILT_PROGRAM, DIST, Program } from '../test/services/program.ts'
import { startRabbitmq } from '../test/services/rabbitmq.ts'
import { startRadosgw } from '../test/services/radosgw.ts'
import { until } from '../test/services/wait.ts'
import { Workspace } from '../test/services/workspace.ts'
import { endProgress, progress } from './progress.ts'

const BUCKET = 'memory'
const CLIENTS = 16
const EVENT_BYTES = 34 * 1024
const MIB = 1024 * 1024
const RESIDENT_MIB_MAX = 250
const ARCHIVED_MS_MAX = 600_000

const { values: options } = parseArgs({
  options: {
    queue: { type: 'string', default: 'embedded' },
    gib: { type: 'string', default: '2' },
    compression: { type: 'string', default: 'none' },
  },
})
/** With RabbitMQ it must not exceed 65,535, the largest BATCH_EVENTS_MAX. */
const count = Math.floor((Number(options.gib) * 1024 * MIB) / EVENT_BYTES)

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

progress('Building the program, and starting an S3 server')
await buildProgram(DIST)
const workspace = new Workspace('memory')
await ensureServers()
const radosgw = await startRadosgw({ store: 'bluestore' })
const rabbitmq = options.queue === 'rabbitmq' ? await startRabbitmq() : undefined
// This process reads the archive too.
Object.assign(process.env, radosgw.env())
await radosgw.createBucket(BUCKET)

const isBounded = await measure()
await Promise.all([radosgw.close(), rabbitmq?.close(), workspace.close()])
process.exitCode = isBounded ? 0 : 1

async function measure(): Promise<boolean> {
  const env: Record<string, string> = {
    ...radosgw.env(),
    PORT: '0',
    ARCHIVE_URL: `s3://${BUCKET}`,
    ARCHIVE_COMPRESSION: options.compression,
    BATCH_EVENTS_MAX: String(count),
    BATCH_BYTES_MAX: '16GiB',
    BATCH_AGE_MS_MAX: '900000',
    ...(rabbitmq !== undefined && { AMQP_URL: rabbitmq.url }),
  }
  const program = new Program(BUILT_PROGRAM, { name: 'frequency', workspace, cwd: workspace.dir, env })
  const url = await program.listening()
  const store = await openStore(readConfig({}, env))
  const baseMib = residentMib(program.pid)

  const startedAt = performance.now()
  await postAll(url)
  progress('All events are taken. Waiting until the batch is in S3')
  await until('the batch is archived', ARCHIVED_MS_MAX, async () => (await keysIn(store)).length > 0)
  const seconds = (performance.now() - startedAt) / 1000

  const peakMib = residentMib(program.pid)
  await program.stop()
  progress('Reading the object back')
  const keys = await keysIn(store)
  const { bytes, events } = await contentOf(store, keys)
  endProgress()
  process.stdout.write(`  queue                ${options.queue}
  objects              ${keys.length}
  events               ${events} of ${count}
  bytes                ${(bytes / MIB).toFixed(0)} MiB
  elapsed              ${seconds.toFixed(1)} s
  resident at start    ${baseMib} MiB
  resident at the most ${peakMib} MiB
`)
  return keys.length === 1 && events === count && peakMib <= RESIDENT_MIB_MAX
}

/** The peak of the resident memory of a process, in MiB. */
function residentMib(pid: number): number {
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Math.round(Number(kib) / 1024)
}

async function keysIn(store: ObjectStore): Promise<string[]> {
  const keys: string[] = []
  for await (const key of store.list('frequency/dt=')) keys.push(key)
  return keys
}

async function contentOf(store: ObjectStore, keys: string[]): Promise<{ bytes: number; events: number }> {
  const content = { bytes: 0, events: 0 }
  for (const key of keys) {
    for await (const chunk of (await store.get(key)).pipe(createDecompressor(key))) {
      content.bytes += chunk.length
      for (let at = chunk.indexOf('\n'); at !== -1; at = chunk.indexOf('\n', at + 1)) content.events++
    }
  }
  return content
}

/** Posts all events on 16 connections. A refused event is posted again. */
async function postAll(url: string): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })
  const filler = randomBytes(EVENT_BYTES).toString('base64')
  let next = 0
  async function client(): Promise<void> {
    while (next < count) {
      const n = next++
      if (n % 1000 === 0) progress(`${n} of ${count} events are posted`)
      const body = `{"event":"large","n":${n},"pad":"${filler.slice(n % 8192, (n % 8192) + EVENT_BYTES - 128)}"}`
      while ((await post(`${url}/api/t`, body, { contentType: 'application/json', agent })) !== 200);
    }
  }
  await Promise.all(Array.from({ length: CLIENTS }, client))
  agent.destroy()
}
