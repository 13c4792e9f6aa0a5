import { connect } from 'node:net'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { logKeys } from '../../src/log/log-keys.ts'
import { isObjectKey } from '../../src/object/object-key.ts'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, uniqueQueueName } from '../helpers/queue-helper.ts'
import { filesBelow } from '../helpers/store-helper.ts'
import { postOf, RawClient } from '../plugins/raw-http.ts'
import type { Program } from '../services/program.ts'
import type { S3RequestInfo } from '../services/s3-fault.ts'
import { type S3Server, startS3Server } from '../services/s3-server.ts'
import { until } from '../services/wait.ts'
import { type ArchivedObject, archivedObjects, numbersIn } from './archived.ts'
import { Posts } from './posts.ts'
import { buildProgram, startProgram } from './program.ts'
import { testBucket } from './s3-bucket.ts'

const MINUTES = String(10 * 60_000)
const ARCHIVED_MS_MAX = 60_000
/** Limit for an immediate end, also on a busy machine. */
const AT_ONCE_MS_MAX = 10_000
const BUCKET = 'events'

const path = await buildProgram(t)

function run(t: Test, cwd: string, env: Record<string, string>): Program {
  return startProgram(t, path, { cwd, env: { PORT: '0', ...env } })
}

async function faultyS3(t: Test): Promise<S3Server> {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket(BUCKET)
  return server
}

function objectsOn(server: S3Server): ArchivedObject[] {
  const objects = [...server.objects(BUCKET)].filter(([key]) => isObjectKey(key))
  return objects.map(([key, bytes]) => {
    return { key, lines: gunzipSync(bytes).toString().split('\n').slice(0, -1) }
  })
}

function ascending(numbers: readonly number[]): number[] {
  return numbers.toSorted((a, b) => a - b)
}

/** Asserts that each event of `taken` is archived once. Events of requests that were cut off may be archived too. */
function hasEachOnce(t: Test, archived: readonly number[], taken: readonly number[]): void {
  const present = new Set(archived)
  t.equal(present.size, archived.length, 'none is there twice')
  t.strictSame(
    taken.filter(n => !present.has(n)),
    [],
    'none is missing',
  )
}

t.test('SIGTERM under load: every event that got 200 is archived, and the exit code is 0', async t => {
  const cwd = temporaryDirectory(t)
  const config = configOf({ DATA_DIR: join(cwd, 'data') })
  const program = run(t, cwd, { BATCH_EVENTS_MAX: '300', BATCH_AGE_MS_MAX: '1000' })
  const posts = new Posts(t, await program.listening())
  posts.start(50)
  await until('there is load', ARCHIVED_MS_MAX, () => posts.taken.length > 2_000)
  t.match(await program.stop(), { code: 0, signal: null })
  await posts.stopped()

  const restarted = run(t, cwd, { BATCH_AGE_MS_MAX: '100' })
  await restarted.listening()
  await until('all is archived', ARCHIVED_MS_MAX, async () => {
    return numbersIn(await archivedObjects(config)).length >= posts.taken.length
  })
  await restarted.stop()
  hasEachOnce(t, numbersIn(await archivedObjects(config)).map(Number), posts.taken)
})

t.test('SIGTERM under load, with RabbitMQ and S3', async t => {
  const cwd = temporaryDirectory(t)
  const AMQP_QUEUE = uniqueQueueName(t)
  const bucket = await testBucket(t)
  const ARCHIVE_URL = `s3://${bucket.name}`
  const config = configOf({ ARCHIVE_URL, S3_FORCE_PATH_STYLE: 'true' })
  const env = { ...bucket.env, AMQP_URL: brokerUrl(), AMQP_QUEUE, ARCHIVE_URL }
  const program = run(t, cwd, { ...env, BATCH_EVENTS_MAX: '300', BATCH_AGE_MS_MAX: '1000' })
  const posts = new Posts(t, await program.listening())
  posts.start(50)
  await until('there is load', ARCHIVED_MS_MAX, () => posts.taken.length > 2_000)
  t.match(await program.stop(), { code: 0, signal: null })
  await posts.stopped()

  const restarted = run(t, cwd, { ...env, BATCH_AGE_MS_MAX: '100' })
  await restarted.listening()
  await until('all is archived', ARCHIVED_MS_MAX, async () => {
    return numbersIn(await archivedObjects(config)).length >= posts.taken.length
  })
  await restarted.stop()
  hasEachOnce(t, numbersIn(await archivedObjects(config)).map(Number), posts.taken)
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(`${signal}: the open batch is archived at once`, async t => {
    const cwd = temporaryDirectory(t)
    const program = run(t, cwd, { BATCH_AGE_MS_MAX: MINUTES })
    const url = await program.listening()
    const posts = new Posts(t, url)
    await posts.post(20)
    await until('all are in the open batch', ARCHIVED_MS_MAX, async () => {
      return /^frequency_unacknowledged_events 20$/m.test(await (await fetch(`${url}/metrics`)).text())
    })
    t.match(await program.kill(signal).endsWithin(AT_ONCE_MS_MAX), { code: 0 })

    const objects = await archivedObjects(configOf({ DATA_DIR: join(cwd, 'data') }))
    t.equal(objects.length, 1)
    t.strictSame(numbersIn(objects).map(Number), posts.taken)
    const { prefix } = configOf().archive
    for (const place of ['.incoming', join(prefix, '_frequency', 'staged')])
      t.strictSame(
        filesBelow(join(cwd, 'data', 'archive', place)),
        [],
        `nothing unfinished is left in ${place}`,
      )
  })
}

t.test('SIGTERM: requests in flight are finished, and new ones are refused', async t => {
  const cwd = temporaryDirectory(t)
  const program = run(t, cwd, {})
  const { port } = new URL(await program.listening())
  const inFlight = new RawClient(t, Number(port))
  const request = postOf('{"event":"in flight"}')
  inFlight.send(request.slice(0, -5))
  const idle = new RawClient(t, Number(port))
  idle.send(postOf('{"event":"before"}'))
  t.match(await idle.responses(1), [{ status: 200 }])

  program.kill('SIGTERM')
  await program.says(/Shutting down/)
  await until('it takes no connections', ARCHIVED_MS_MAX, async () => !(await connects(Number(port))))
  await idle.closed
  inFlight.send(request.slice(-5))
  t.match(await inFlight.responses(1), [{ status: 200, body: '200' }])
  t.match(await program.endsWithin(AT_ONCE_MS_MAX), { code: 0 })

  const objects = await archivedObjects(configOf({ DATA_DIR: join(cwd, 'data') }))
  const events = objects.flatMap(({ lines }) => lines.map(line => JSON.parse(line).event))
  t.strictSame(events, ['before', 'in flight'])
})

t.test('SIGTERM: a client that never finishes its request does not delay the end', async t => {
  const program = run(t, temporaryDirectory(t), { REQUEST_MS_MAX: '1000' })
  const { port } = new URL(await program.listening())
  const stuck = new RawClient(t, Number(port))
  stuck.send(postOf('{"event":"done"}') + postOf('{"event":"never done"}').slice(0, -5))
  t.match(await stuck.responses(1), [{ status: 200 }])
  t.match(await program.kill('SIGTERM').endsWithin(1_000 + AT_ONCE_MS_MAX), { code: 0 })
})

async function connects(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  return new Promise(resolve => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  }).finally(() => socket.destroy()) as Promise<boolean>
}

/** A program whose S3 never answers the record of its first batch, with events that it has taken. */
async function hungProgram(t: Test, more: Record<string, string>) {
  const server = await faultyS3(t)
  const cwd = temporaryDirectory(t)
  const env = { ...server.env(), ARCHIVE_URL: `s3://${BUCKET}`, ...more }
  const isBatch = ({ operation, key }: S3RequestInfo) =>
    operation === 'PutObject' && key.endsWith(logKeys('').record(1))
  server.fault(request => (isBatch(request) ? { hang: true } : undefined))
  const program = run(t, cwd, { ...env, BATCH_EVENTS_MAX: '10', BATCH_AGE_MS_MAX: '50' })
  const posts = new Posts(t, await program.listening())
  await posts.post(35)
  await until('an upload hangs', ARCHIVED_MS_MAX, () => server.requests.some(isBatch))

  /** With an S3 that works again. */
  async function isArchivedByTheNext(): Promise<void> {
    t.strictSame(objectsOn(server), [], 'nothing was archived before')
    server.fault()
    const next = run(t, cwd, { ...env, BATCH_AGE_MS_MAX: '100' })
    await next.listening()
    await until('all is archived', ARCHIVED_MS_MAX, () => {
      return numbersIn(objectsOn(server)).length >= posts.taken.length
    })
    t.match(await next.stop(), { code: 0 })
    t.strictSame(ascending(numbersIn(objectsOn(server)).map(Number)), posts.taken)
  }

  return { program, isArchivedByTheNext }
}

t.test(
  'a second signal ends the process at once with a non-zero code, and no accepted event is lost',
  async t => {
    const { program, isArchivedByTheNext } = await hungProgram(t, {})
    program.kill('SIGTERM')
    await program.says(/Shutting down/)
    const { code } = await program.kill('SIGINT').endsWithin(AT_ONCE_MS_MAX)
    t.ok(code !== null && code > 0, `exit code ${code}`)
    await isArchivedByTheNext()
  },
)

t.test('SHUTDOWN_MS_MAX ends the process with a non-zero code, and no accepted event is lost', async t => {
  const SHUTDOWN_MS_MAX = 1_000
  const { program, isArchivedByTheNext } = await hungProgram(t, { SHUTDOWN_MS_MAX: String(SHUTDOWN_MS_MAX) })
  const startedAt = performance.now()
  const { code } = await program.kill('SIGTERM').endsWithin(SHUTDOWN_MS_MAX + AT_ONCE_MS_MAX)
  const ms = performance.now() - startedAt
  t.ok(code !== null && code > 0, `exit code ${code}`)
  t.ok(ms >= SHUTDOWN_MS_MAX, `after ${Math.round(ms)} ms`)
  t.match(program.stdout, /shutdown took too long/)
  await isArchivedByTheNext()
})
