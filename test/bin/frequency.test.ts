import { randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { settings } from '../../src/config/config.ts'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, openChannel, uniqueQueueName } from '../helpers/queue-helper.ts'
import { freePort } from '../services/ports.ts'
import { until } from '../services/wait.ts'
import { archivedObjects } from './archived.ts'
import { buildProgram, Program, type ProgramOptions } from './program.ts'
import { testBucket } from './s3-bucket.ts'

const REFUSAL_MS_MAX = 60_000
const RECOVERY_MS_MAX = 60_000

const path = await buildProgram(t)

/** Runs the program for a test; it ends with the test. */
function run(t: Test, options: Partial<ProgramOptions> = {}): Program {
  const program = new Program(path, { cwd: temporaryDirectory(t), ...options })
  t.teardown(() => program.kill('SIGKILL').ended)
  return program
}

function post(url: string, body = '{"event":"a"}'): Promise<Response> {
  return fetch(`${url}/api/t`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
}

t.test('starts with nothing but Node, says how to try it, and archives what is posted', async t => {
  const BATCH_AGE_MS_MAX = 500
  const cwd = temporaryDirectory(t)
  const program = run(t, {
    cwd,
    args: ['serve', '--role=all'],
    env: { PORT: '0', BATCH_AGE_MS_MAX: String(BATCH_AGE_MS_MAX) },
  })
  const url = await program.listening()
  const { port } = new URL(url)
  t.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
  t.not(port, '0')
  t.match(program.stderr, /role: all/)
  t.match(program.stderr, /queue\s+embedded, in \S*data/)
  t.match(program.stderr, /archive\s+directory \S*data\/archive/)
  t.match(program.stdout, `127.0.0.1:${port}"`, 'the log has the port as well')

  const [, liveUrl = ''] = /live\s+(http:\S+)/.exec(program.stderr) ?? []
  t.match(await (await fetch(liveUrl)).text(), '<title>frequency</title>', 'the live page is in the build')

  const [, curlUrl = '', header = '', body = ''] =
    /curl -i (\S+) -H '([^']+)' -d '([^']+)'/.exec(program.stderr) ?? []
  const [name = '', value = ''] = header.split(': ')
  const response = await fetch(curlUrl, { method: 'POST', headers: { [name]: value }, body })
  t.equal(await response.text(), '200')
  t.equal(response.headers.get('frequency-ack'), 'disk')

  const config = configOf({ DATA_DIR: join(cwd, 'data') })
  await until('the event is archived', BATCH_AGE_MS_MAX + RECOVERY_MS_MAX, async () => {
    return (await archivedObjects(config)).length > 0
  })
  const [object, ...others] = await archivedObjects(config)
  t.strictSame(others, [])
  t.match(object?.key, /^frequency\/dt=\d{4}-\d\d-\d\d\/hour=\d\d\/batch_\d{8}T\d{9}Z_[0-9a-f]+\.ndjson\.gz$/)
  t.match(
    object?.lines.map(line => JSON.parse(line)),
    [JSON.parse(body)],
  )
  t.match(await program.stop(), { code: 0, signal: null })
})

t.test('logs JSON lines', async t => {
  const program = run(t, { env: { PORT: '0' } })
  await program.listening()
  await program.stop()
  const lines = program.stdout.trimEnd().split('\n')
  t.ok(lines.length > 0)
  for (const line of lines) t.match(JSON.parse(line), { level: Number, time: Number, msg: String })
})

t.test('--help shows each setting with its default', async t => {
  const program = run(t, { args: ['serve', '--help'] })
  t.match(await program.endsWithin(REFUSAL_MS_MAX), { code: 0 })
  const help = program.stdout.replace(/\s+/g, ' ')
  for (const { flag, description, default: byDefault } of settings) {
    t.ok(help.includes(`${flag} <value> ${description} Default: ${byDefault}.`), flag)
  }
  for (const wanted of ['127.0.0.1', '4000', './data', 'tracks', 'ndjson', 'gzip', '1000', '10000', '1MiB']) {
    t.ok(help.includes(`Default: ${wanted}.`), wanted)
  }
  const overview = run(t, { args: ['--help'] })
  t.match(await overview.endsWithin(REFUSAL_MS_MAX), { code: 0 })
  t.match(overview.stdout, /^ {2}serve/m)
})

t.test('a flag wins over the environment, and that over .env', async t => {
  const [inFlag, inEnv, inDotEnv] = [await freePort(), await freePort(), await freePort()]
  const cwd = temporaryDirectory(t)
  writeFileSync(
    join(cwd, '.env'),
    `# where it listens\nPORT=${inDotEnv}\nDATA_DIR="./from .env"\nLOG_LEVEL=silent\n`,
  )
  const starts: [options: Omit<ProgramOptions, 'cwd'>, port: number][] = [
    [{ args: ['serve', `--port=${inFlag}`], env: { PORT: String(inEnv) } }, inFlag],
    [{ args: ['serve', '--port', String(inFlag)], env: { PORT: String(inEnv) } }, inFlag],
    [{ env: { PORT: String(inEnv) } }, inEnv],
    [{}, inDotEnv],
  ]
  for (const [options, port] of starts) {
    const program = run(t, { cwd, ...options })
    t.equal(await program.listening(), `http://127.0.0.1:${port}`)
    t.match(program.stderr, 'from .env')
    t.equal(program.stdout, '', 'LOG_LEVEL=silent')
    await program.stop()
  }
  const empty = run(t, {
    cwd: temporaryDirectory(t),
    args: ['serve', '--port=0'],
    env: { ROLE: '', HOST: '' },
  })
  t.match(await empty.listening(), /^http:\/\/127\.0\.0\.1:/, 'an empty variable is as one that is not set')
  await empty.stop()
})

t.test('the AWS SDK finds its variables in .env too', async t => {
  const cwd = temporaryDirectory(t)
  const { name: bucket, env } = await testBucket(t)
  const lines = Object.entries({ ...env, ARCHIVE_URL: `s3://${bucket}/from/dot-env`, PORT: '0' })
  const dotEnv = lines.map(([name, value]) => `${name}=${value}\n`)
  writeFileSync(join(cwd, '.env'), dotEnv.join(''))
  const program = run(t, { cwd })
  const url = await program.listening()
  t.match(program.stderr, new RegExp(`archive\\s+S3, s3://${bucket}/from/dot-env`))
  t.equal((await post(url)).status, 200)
  await program.stop()
})

/** A few settings that cannot work, and what the refusal names; test/src/config/config.test.ts has all of them. */
const REFUSALS: [name: string, options: Omit<ProgramOptions, 'cwd'>][] = [
  ['ROLE', { args: ['serve', '--role=nothing'] }],
  ['PORT', { args: ['serve', '--port=65536'] }],
  ['PORT', { env: { PORT: '80a' } }],
  ['HOST', { env: { HOST: '192.0.2.1' } }],
  ['AMQP_PREFETCH', { env: { ARCHIVE_URL: 'a', AMQP_PREFETCH: '999', AMQP_URL: 'amqp://127.0.0.1:1' } }],
  [
    'BATCH_AGE_MS_MAX',
    { env: { ARCHIVE_URL: 'a', BATCH_AGE_MS_MAX: '1500000', AMQP_URL: 'amqp://127.0.0.1:1' } },
  ],
  ['AMQP_URL', { args: ['serve', '--role=ingest'] }],
  ['ARCHIVE_URL', { env: { AMQP_URL: 'amqp://127.0.0.1:1' } }],
  ['AMQP_URL', { env: { AMQP_URL: 'https://user:hush-hush@127.0.0.1:1' } }],
  ['AMQP_URL', { env: { AMQP_URL: 'user:hush-hush@127.0.0.1' } }],
  ['ARCHIVE_URL', { env: { ARCHIVE_URL: 'ftp://user:hush-hush@127.0.0.1/archive' } }],
  ['ARCHIVE_URL', { env: { ARCHIVE_URL: 'file/archive' } }],
  ['DATA_DIR', { env: { DATA_DIR: 'file/data' } }],
  ['--nonsense', { args: ['serve', '--nonsense=1'] }],
  ['argument', { args: ['serve', 'everything'] }],
]

t.test('refuses a setting that cannot work, in one line that names it', async t => {
  await Promise.all([refuseEach(0), refuseEach(1)])

  /** Two at a time: most of a refusal is the start of Node. */
  async function refuseEach(parity: number): Promise<void> {
    for (const [name, options] of REFUSALS.filter((_, index) => index % 2 === parity)) {
      const cwd = temporaryDirectory(t)
      writeFileSync(join(cwd, 'file'), 'is no directory')
      const program = run(t, { cwd, ...options, env: { PORT: '0', ...options.env } })
      await isRefused(t, program, name)
    }
  }
})

async function isRefused(t: Test, program: Program, name: string): Promise<void> {
  const { code } = await program.endsWithin(REFUSAL_MS_MAX)
  t.ok(code !== null && code > 0, `${name}: exit code ${code}`)
  t.match(program.stderr, /^(frequency|error): [^\n]+\n$/, 'one line')
  t.match(program.stderr, name)
  t.notMatch(program.output, /hush-hush/)
}

t.test('refuses a port that is in use', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await until('the port is taken', REFUSAL_MS_MAX, () => server.listening)
  const { port } = server.address() as { port: number }
  const program = run(t, { env: { PORT: String(port) } })
  await isRefused(t, program, 'PORT')
  t.match(program.stderr, `127.0.0.1:${port}`)
})

t.test('refuses a data directory that another process is using', async t => {
  const cwd = temporaryDirectory(t)
  mkdirSync(join(cwd, 'data'))
  const first = run(t, { cwd, env: { PORT: '0' } })
  await first.listening()
  await isRefused(t, run(t, { cwd, env: { PORT: '0' } }), 'DATA_DIR')
  await first.stop()
  const next = run(t, { cwd, env: { PORT: '0' } })
  await next.listening()
  next.kill('SIGKILL')
  await next.ended
  await run(t, { cwd, env: { PORT: '0' } }).listening()
})

t.test('refuses a bucket that does not exist, or may not be used', async t => {
  const { name: bucket, env } = await testBucket(t)
  const missing = run(t, { env: { ...env, PORT: '0', ARCHIVE_URL: `s3://missing-${randomUUID()}` } })
  await isRefused(t, missing, 'ARCHIVE_URL')
  t.match(missing.stderr, /does not exist/)

  const wrongKey = run(t, {
    env: { ...env, PORT: '0', ARCHIVE_URL: `s3://${bucket}`, AWS_SECRET_ACCESS_KEY: 'hush-hush' },
  })
  await isRefused(t, wrongKey, 'ARCHIVE_URL')
  t.match(wrongKey.stderr, /AWS_SECRET_ACCESS_KEY/)
})

t.test('refuses a broker that turns it away', async t => {
  const wrongLogin = new URL(brokerUrl())
  wrongLogin.password = 'hush-hush'
  await isRefused(
    t,
    run(t, { env: { PORT: '0', ARCHIVE_URL: 'archive', AMQP_URL: wrongLogin.href, LOG_LEVEL: 'trace' } }),
    'AMQP_URL',
  )

  const AMQP_QUEUE = uniqueQueueName(t)
  const channel = await openChannel(t)
  await channel.queueDeclare({ queue: AMQP_QUEUE, durable: true })
  const env = { PORT: '0', ARCHIVE_URL: 'archive', AMQP_URL: brokerUrl(), AMQP_QUEUE }
  await isRefused(t, run(t, { env }), 'AMQP_QUEUE')
})
