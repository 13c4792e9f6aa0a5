/** `npm run test:binary`: builds the executable, and runs it on a machine with a C library and nothing else. */
import { createHash } from 'node:crypto'
import { appendFileSync, chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { buildBinary } from '../../binary/build.ts'
import { Posts } from '../bin/posts.ts'
import { testBucket } from '../bin/s3-bucket.ts'
import { brokerUrl, uniqueQueueName } from '../helpers/queue-helper.ts'
import { ROOT } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { type BareMachine, canBeMade, makeBareMachine, thisMachine } from './bare-machine.ts'

const END_MS_MAX = 60_000
/** Of all tests together. */
const SUITE_MS_MAX = 300_000
const BYTES_MAX = 130e6
const STARTS = 10
const COUNT = 'select count(*) as events from events'
const ENGINE = /^engine-[0-9a-f]{16}$/
const PAGES = {
  '/': /<!doctype html>/i,
  '/ui/page.js': /import/,
  '/ui/uplot.js': /uPlot/,
  '/documentation/': /swagger-ui-bundle\.js/,
  '/documentation/json': /"openapi"/,
  '/documentation/static/swagger-ui-bundle.js': /SwaggerUIBundle/,
  '/documentation/static/swagger-ui.css': /swagger-ui/,
  '/metrics': /frequency_ready 1/,
}

t.setTimeout(SUITE_MS_MAX)
const executable = await build(t)
const machine = canBeMade ? makeBareMachine(t, executable) : thisMachine(t, executable)
if (!canBeMade) t.comment('Only root can make a bare machine. The executable runs on this one.')

async function build(t: Test): Promise<string> {
  mkdirSync(join(ROOT, '.tap'), { recursive: true })
  const directory = mkdtempSync(join(ROOT, '.tap', 'binary-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const { path, bytes, hasEngine } = await buildBinary(join(directory, 'frequency'))
  t.ok(hasEngine)
  t.match(readFileSync(`${path}-licenses.txt`, 'utf8'), /^fastify \d.*MIT.*^Permission is hereby granted/ms)
  t.ok(bytes < BYTES_MAX, `${(bytes / 1e6).toFixed(1)} MB`)
  return path
}

async function output(
  t: Test,
  { start }: BareMachine,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  const program = start(args, env)
  const { code } = await program.endsWithin(END_MS_MAX)
  t.match({ code, stderr: program.stderr }, { code: 0, stderr: '' }, String(args[0]))
  return program.stdout
}

async function count(t: Test, env: NodeJS.ProcessEnv = {}): Promise<number> {
  const text = await output(t, machine, ['query', COUNT, '--format=json'], env)
  return Number(JSON.parse(text)[0].events)
}

/** The directory that the engine was unpacked into. */
function engineDirectory(): string {
  const cache = join(machine.data, 'query-cache')
  const [archive = ''] = readdirSync(cache)
  const names = readdirSync(join(cache, archive)).filter(name => ENGINE.test(name))
  if (names.length !== 1) throw new Error(`There are ${names.length} engines.`)
  return join(cache, archive, names[0] as string)
}

t.test('one process takes, archives and shows events, and stops', async t => {
  const server = machine.start(['serve'], { PORT: '0', BATCH_EVENTS_MAX: '20', BATCH_AGE_MS_MAX: '60000' })
  const url = await server.listening()
  for (const [path, pattern] of Object.entries(PAGES)) {
    const response = await fetch(url + path)
    t.equal(response.status, 200, path)
    t.match(await response.text(), pattern)
  }
  await new Posts(t, url).post(20)
  const body = '{"type":"track","event":"bought","userId":"42"}'
  const headers = { 'content-type': 'application/json' }
  t.equal((await fetch(`${url}/v1/track`, { method: 'POST', headers, body })).status, 200)
  await server.says(/Batch archived/)
  t.equal(await count(t), 20)
  t.match(await output(t, machine, ['status', `--url=${url}`]), /It adds up/)
  t.match(await output(t, machine, ['log']), /Last record: 1/)
  const stopped = await server.stop()
  t.equal(stopped.code, 0)
  t.notMatch(server.stderr, /Warning/)
  t.match(await output(t, machine, ['verify']), /^CLEAN/m)
  t.equal(await count(t), 21)
  t.match(await output(t, machine, ['compact', '--include-open']), /with 21 events/)
  t.equal(await count(t), 21)
  t.match(await output(t, machine, ['dead']), /0|no dead letters/i)
  t.match(await output(t, machine, ['--version']), /^\d+\.\d+\.\d+\n$/)
})

t.test('ten that start at once unpack one engine', async t => {
  rmSync(engineDirectory(), { recursive: true })
  const counts = await Promise.all(Array.from({ length: STARTS }, () => count(t)))
  t.same(counts, Array(STARTS).fill(21))
  t.same(readdirSync(engineDirectory()).sort(), ['duckdb.node', 'libduckdb.so'])
})

t.test('an engine that was changed is replaced', async t => {
  const path = join(engineDirectory(), 'libduckdb.so')
  const digest = (): string => createHash('sha256').update(readFileSync(path)).digest('hex')
  const before = digest()
  appendFileSync(path, 'x')
  t.not(digest(), before)
  t.equal(await count(t), 21)
  t.equal(digest(), before)
})

t.test('an engine that other users could change is refused', async t => {
  const directory = engineDirectory()
  const query = async (env: NodeJS.ProcessEnv): Promise<[code: number | null, stderr: string]> => {
    const program = machine.start(['query', COUNT], env)
    const { code } = await program.endsWithin(END_MS_MAX)
    return [code, program.stderr]
  }
  chmodSync(directory, 0o777)
  const [code, stderr] = await query({ TMPDIR: '/nowhere' })
  t.equal(code, 1)
  t.match(stderr, /cannot be unpacked.*Other users may write \S*engine-\S+\. Remove it.*In TMPDIR.*ENOENT/s)
  const TMPDIR = join(machine.data, 'tmp')
  mkdirSync(TMPDIR, { mode: 0o1777 })
  chmodSync(TMPDIR, 0o1777)
  t.same(await query({ TMPDIR: join(machine.inside, 'tmp') }), [0, ''])
  t.same(readdirSync(TMPDIR), [], 'nothing is left')
  chmodSync(directory, 0o700)
})

t.test('workers with RabbitMQ and S3, and roles apart', async t => {
  const bucket = await testBucket(t)
  const ARCHIVE_URL = `s3://${bucket.name}/some`
  const broker = { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) }
  const env = { ...bucket.env, ...broker, ARCHIVE_URL, PORT: '0', BATCH_AGE_MS_MAX: '500' }
  const ingest = machine.start(['serve', '--role=ingest', '--workers=2'], {
    ...env,
    DATA_DIR: '/data/ingest',
  })
  const archive = machine.start(['serve', '--role=archive'], env)
  await archive.listening()
  await new Posts(t, await ingest.listening()).post(50)
  const archived = (): number => {
    const batches = archive.stdout.matchAll(/"events":(\d+).*Batch archived/g)
    return Array.from(batches).reduce((sum, [, events]) => sum + Number(events), 0)
  }
  await until('all is archived', END_MS_MAX, () => archived() === 50).catch(error => {
    throw new Error(`${error.message}\n${ingest.output}\n${archive.output}`)
  })
  t.equal((await ingest.stop()).code, 0)
  t.equal((await archive.stop()).code, 0)
  t.match(await output(t, machine, ['verify'], env), /^CLEAN/m)
  t.equal(await count(t, env), 50)
  t.match(await output(t, machine, ['check'], env), /ok {4}broker/)
})
