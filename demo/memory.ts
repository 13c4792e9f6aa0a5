/**
 * How much memory one large batch takes: posts events of GiBs in all, which become one object on a real
 * S3 server, and gives the peak of resident memory that Linux has noted for the process (VmHWM).
 *
 *     node --import=tsx demo/memory.ts                    2 GiB through the embedded queue
 *     node --import=tsx demo/memory.ts --queue=rabbitmq   2 GiB through RabbitMQ
 *
 * Exits with 1 if that is more than 250 MiB, or if an event is missing.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { readConfig } from '../src/config/config.ts'
import { createDecompressor } from '../src/object/format.ts'
import { openStore } from '../src/store/open-store.ts'
import type { ObjectStore } from '../src/store/store.ts'
import { Program } from '../test/bin/program.ts'
import { ensureServers } from '../test/services/install.ts'
import { startRabbitmq } from '../test/services/rabbitmq.ts'
import { startRadosgw } from '../test/services/radosgw.ts'
import { until } from '../test/services/wait.ts'
import { endProgress, progress } from './progress.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
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
/** With RabbitMQ a batch has at most 65,535 events. */
const count = Math.floor((Number(options.gib) * 1024 * MIB) / EVENT_BYTES)

const directory = mkdtempSync(join(tmpdir(), 'frequency-memory-'))
let program: Program | undefined
process.once('exit', () => {
  program?.kill('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

progress('Building the program, and starting an S3 server')
await promisify(execFile)('npm', ['run', 'build'], { cwd: ROOT })
await ensureServers()
const radosgw = await startRadosgw({ store: 'bluestore' })
const rabbitmq = options.queue === 'rabbitmq' ? await startRabbitmq() : undefined
Object.assign(process.env, radosgw.env(), { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' })
await radosgw.createBucket(BUCKET)

const isBounded = await measure()
await Promise.all([radosgw.close(), rabbitmq?.close()])
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
  program = new Program(join(ROOT, 'dist', 'bin', 'frequency.js'), { cwd: directory, env })
  const url = await program.listening()
  const store = await openStore(readConfig({}, env))
  const baseMib = residentMib(program.pid)

  const startedAt = performance.now()
  await postAll(url)
  progress('All events are taken: the rest of the batch is on its way to S3')
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

/** The peak of a process's resident memory. */
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

/** Posts all events, so many at a time; what is refused is sent again. */
async function postAll(url: string): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })
  const filler = randomBytes(EVENT_BYTES).toString('base64')
  let next = 0
  async function client(): Promise<void> {
    while (next < count) {
      const n = next++
      if (n % 1000 === 0) progress(`${n} of ${count} events are posted`)
      const body = `{"event":"large","n":${n},"pad":"${filler.slice(n % 8192, (n % 8192) + EVENT_BYTES - 128)}"}`
      while ((await post(`${url}/api/t`, body, agent)) !== 200);
    }
  }
  await Promise.all(Array.from({ length: CLIENTS }, client))
  agent.destroy()
}

function post(url: string, body: string, agent: Agent): Promise<number> {
  const headers = { 'content-type': 'application/json', 'content-length': body.length }
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', agent, headers }, response => {
      response.on('error', reject).on('end', () => resolve(response.statusCode ?? 0))
      response.resume()
    })
    sent.on('error', reject).end(body)
  })
}
