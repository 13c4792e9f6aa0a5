import { randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { settings } from '../../src/config/config.ts'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, openChannel, uniqueQueueName } from '../helpers/queue-helper.ts'
import { freePort } from '../services/ports.ts'
import type { Program, ProgramOptions } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { archivedObjects } from './archived.ts'
import { buildProgram, startProgram } from './program.ts'
import { testBucket } from './s3-bucket.ts'

const REFUSAL_MS_MAX = 60_000
const RECOVERY_MS_MAX = 60_000

const path = await buildProgram(t)

/** Starts the program, and kills it at the end of the test. */
function run(t: Test, options: Partial<ProgramOptions> = {}): Program {
  return startProgram(t, path, { cwd: temporaryDirectory(t), ...options })
}

function post(url: string, body = '{"event":"a"}'): Promise<Response> {
  return fetch(`${url}/api/t`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
}

t.test('starts with Node only, shows an example request, and archives events', async t => {
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
  for (const wanted of ['127.0.0.1', '4000', './data', 'tracks', 'ndjson', 'gzip', '1000', '10s', '1MiB']) {
    t.ok(help.includes(`Default: ${wanted}.`), wanted)
  }
  const overview = run(t, { args: ['--help'] })
  t.match(await overview.endsWithin(REFUSAL_MS_MAX), { code: 0 })
  t.match(overview.stdout, /^ {2}serve/m)
})

t.test('a flag wins over the environment, and the environment over .env', async t => {
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

t.test('the AWS SDK reads its variables from .env', async t => {
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

/** Where a refusal is reported: on standard error until the settings of the log are known, then in the log. */
type Output = 'stderr' | 'log'

/** Some invalid settings, and the name in the refusal. test/src/config/config.test.ts has all of them. */
const REFUSALS: [name: string, options: Omit<ProgramOptions, 'cwd'>, output?: Output][] = [
  ['ROLE', { args: ['serve', '--role=nothing'] }],
  ['PORT', { args: ['serve', '--port=65536'] }],
  ['PORT', { env: { PORT: '80a' } }],
  ['HOST', { env: { HOST: '192.0.2.1' } }, 'log'],
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
  ['ARCHIVE_URL', { env: { ARCHIVE_URL: 'file/archive' } }, 'log'],
  ['DATA_DIR', { env: { DATA_DIR: 'file/data' } }, 'log'],
  ['DATA_DIR', { env: { DATA_DIR: `d/${'long'.repeat(30)}` } }, 'log'],
  ['WRITE_KEYS_FILE', { env: { WRITE_KEYS_FILE: 'none' } }, 'log'],
  ['AWS_ENDPOINT_URL_S3', { env: { ARCHIVE_URL: 's3://bucket', AWS_ENDPOINT_URL_S3: 'nonsense' } }],
  ['10s', { args: ['serve', '--batch-age-ms-max=10 sec'] }],
  ['--nonsense', { args: ['serve', '--nonsense=1'] }],
  ['argument', { args: ['serve', 'everything'] }],
]

t.test('refuses an invalid setting in one line that names it', async t => {
  await Promise.all([refuseEach(0), refuseEach(1)])

  /** Two at a time, because most of the time is the start of Node. */
  async function refuseEach(parity: number): Promise<void> {
    for (const [name, options, told] of REFUSALS.filter((_, index) => index % 2 === parity)) {
      const cwd = temporaryDirectory(t)
      writeFileSync(join(cwd, 'file'), 'a file, not a directory')
      const program = run(t, { cwd, ...options, env: { PORT: '0', ...options.env } })
      await isRefused(t, program, name, told)
      t.strictSame(readdirSync(cwd), ['file'], `${name}: no directory is made`)
    }
  }
})

/** @returns the message of the refusal */
async function isRefused(
  t: Test,
  program: Program,
  name: string,
  output: Output = 'stderr',
): Promise<string> {
  const { code } = await program.endsWithin(REFUSAL_MS_MAX)
  t.equal(code, 1, `${name}: exit code`)
  const { stdout, stderr } = program
  t.notMatch(program.output, /hush-hush/)
  if (output === 'stderr') {
    t.match(stderr, /^(frequency|error): [^\n]+\n$/, 'one line')
    t.match(stderr, name)
    return stderr
  }
  t.equal(stderr, '', `${name}: nothing beside the log`)
  const last = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
  t.match(last, { level: 60, code: 'FRQ_CONFIG_INVALID' })
  t.match(last.msg, name)
  return last.msg
}

t.test('refuses a port that is in use', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await until('the port is taken', REFUSAL_MS_MAX, () => server.listening)
  const { port } = server.address() as { port: number }
  for (const [name, env] of [
    ['PORT', { PORT: String(port) }],
    ['ADMIN_PORT', { PORT: '0', ADMIN_PORT: String(port) }],
  ] as const) {
    const cwd = temporaryDirectory(t)
    const said = await isRefused(t, run(t, { cwd, env }), name, 'log')
    t.match(said, new RegExp(`^${name}: 127\\.0\\.0\\.1:${port} is in use .*set ${name} to another port`))
    t.strictSame(readdirSync(cwd), [], 'no directory is made')
  }
  const silent = run(t, { env: { PORT: String(port), LOG_LEVEL: 'silent' } })
  await isRefused(t, silent, 'PORT')
})

t.test('refuses a data directory that another process is using', async t => {
  const cwd = temporaryDirectory(t)
  mkdirSync(join(cwd, 'data'))
  const first = run(t, { cwd, env: { PORT: '0' } })
  await first.listening()
  const said = await isRefused(t, run(t, { cwd, env: { PORT: '0' } }), 'DATA_DIR', 'log')
  t.match(said, new RegExp(`process ${first.pid} on \\S+ is using .*queue.*another DATA_DIR`))
  await first.stop()
  const next = run(t, { cwd, env: { PORT: '0' } })
  await next.listening()
  next.kill('SIGKILL')
  await next.ended
  await run(t, { cwd, env: { PORT: '0' } }).listening()
})

t.test('refuses a bucket that does not exist, or to which access is denied', async t => {
  const { name: bucket, env } = await testBucket(t)
  const cwd = temporaryDirectory(t)
  const missing = run(t, { cwd, env: { ...env, PORT: '0', ARCHIVE_URL: `s3://missing-${randomUUID()}` } })
  t.match(await isRefused(t, missing, 'ARCHIVE_URL', 'log'), /does not exist/)
  t.strictSame(readdirSync(cwd), [], 'no directory is made')

  const wrongKey = run(t, {
    env: { ...env, PORT: '0', ARCHIVE_URL: `s3://${bucket}`, AWS_SECRET_ACCESS_KEY: 'hush-hush' },
  })
  t.match(await isRefused(t, wrongKey, 'ARCHIVE_URL', 'log'), /AWS_SECRET_ACCESS_KEY/)
})

t.test('stops if the broker refuses the login or the queue', async t => {
  const wrongLogin = new URL(brokerUrl())
  wrongLogin.password = 'hush-hush'
  const cwd = temporaryDirectory(t)
  const refused = run(t, {
    cwd,
    env: { PORT: '0', ARCHIVE_URL: 'archive', AMQP_URL: wrongLogin.href, LOG_LEVEL: 'trace' },
  })
  const said = await isRefused(t, refused, 'AMQP_URL', 'log')
  t.match(
    said,
    /^AMQP_URL: RabbitMQ at \S+ refuses the connection: ACCESS_REFUSED - .*Check user and password/,
  )
  t.notMatch(refused.output, /[Tt]rying again|undefined/)
  t.strictSame(readdirSync(cwd), [], 'no directory is made')

  const AMQP_QUEUE = uniqueQueueName(t)
  const channel = await openChannel(t)
  await channel.queueDeclare({ queue: AMQP_QUEUE, durable: true })
  const env = { PORT: '0', ARCHIVE_URL: 'archive', AMQP_URL: brokerUrl(), AMQP_QUEUE }
  await isRefused(t, run(t, { env }), 'AMQP_QUEUE', 'log')
})

t.test('refuses an AMQP_URL at which something other than RabbitMQ answers', async t => {
  const { endpoint } = await testBucket(t)
  const AMQP_URL = endpoint.replace('http:', 'amqp:')
  const program = run(t, { env: { PORT: '0', ARCHIVE_URL: 'archive', AMQP_URL } })
  t.match(await isRefused(t, program, 'AMQP_URL', 'log'), /does not speak AMQP. Check the port/)
})

t.test('a broker that cannot be reached is one log line per connection, which names it', async t => {
  const port = await freePort()
  const AMQP_URL = `amqp://me:hush-hush@127.0.0.1:${port}/events`
  const program = run(t, { env: { PORT: '0', ARCHIVE_URL: 'archive', AMQP_URL, AMQP_QUEUE: 'mine' } })
  await program.listening()
  await program.says(/consumer.*Trying again/)
  await program.stop()
  const lines = logOf(program).filter(({ msg }) => /RabbitMQ/.test(String(msg)))
  t.strictSame(
    lines.map(({ msg, broker, queue, connection }) => ({ msg, broker, queue, connection })),
    ['publisher', 'consumer'].map(name => ({
      msg: 'RabbitMQ cannot be used. Trying again.',
      broker: `RabbitMQ at 127.0.0.1:${port}, virtual host events`,
      queue: 'mine',
      connection: `frequency all: ${name}`,
    })),
  )
  for (const { reason } of lines)
    t.match(reason, /^nothing listens there \(connect ECONNREFUSED 127\.0\.0\.1:/)
  t.notMatch(program.output, /hush-hush/)
})

t.test('a store that does not answer is logged after a second', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await until('it listens', REFUSAL_MS_MAX, () => server.listening)
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const program = run(t, {
    env: {
      PORT: '0',
      ARCHIVE_URL: 's3://bucket/events',
      AWS_ENDPOINT_URL_S3: endpoint,
      AWS_ACCESS_KEY_ID: 'a',
      AWS_SECRET_ACCESS_KEY: 'b',
    },
  })
  await program.says(/Still waiting/)
  t.notMatch(program.output, /listens on/, 'it says so while it waits')
  t.match(logOf(program).at(-1), {
    msg: 'Still waiting for the archive to answer.',
    archive: 's3://bucket/events',
    endpoint,
  })
  await program.listening()
  t.match(program.stdout, /The server starts without its archive\. Events wait in the queue\./)
})

t.test('an error with a remedy is logged without a stack', async t => {
  const WRITE_KEYS_FILE = join(temporaryDirectory(t), 'keys')
  writeFileSync(WRITE_KEYS_FILE, 'web=a\n')
  const program = run(t, { env: { PORT: '0', WRITE_KEYS_FILE } })
  await program.listening()
  writeFileSync(WRITE_KEYS_FILE, 'no key\n')
  await program.says(/The write keys stay as they are/)
  await program.stop()
  const line = logOf(program).find(({ msg }) => /^The write keys stay/.test(String(msg)))
  t.strictSame(Object.keys(line?.err ?? {}), ['code', 'message'])
  t.match(line?.err, { code: 'FRQ_CONFIG_INVALID', message: /^WRITE_KEYS_FILE: entry 1 must be/ })
})

t.test('the log has the reason of the end, and the result', async t => {
  const program = run(t, { env: { PORT: '0', BATCH_AGE_MS_MAX: '10m' } })
  await post(await program.listening())
  t.match(await program.stop(), { code: 0 })
  t.match(
    logOf(program)
      .filter(({ msg }) => msg !== 'Batch archived.')
      .slice(-2),
    [
      { msg: 'Shutting down.', reason: 'SIGTERM' },
      { msg: 'Stopped.', ms: Number },
    ],
  )

  const away = {
    AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1',
    AWS_ACCESS_KEY_ID: 'a',
    AWS_SECRET_ACCESS_KEY: 'b',
  }
  const full = run(t, { env: { PORT: '0', ARCHIVE_URL: 's3://bucket', ...away } })
  await post(await full.listening())
  t.match(await full.stop(), { code: 0 })
  t.match(
    logOf(full).find(({ msg }) => /^Archiving has stopped/.test(String(msg))),
    { reason: /AWS_ENDPOINT_URL_S3 \(http:\/\/127\.0\.0\.1:1\): nothing listens there/ },
  )
  t.notMatch(full.output, '"stack"', 'what was to be expected has none')
  t.match(logOf(full).at(-1), {
    level: 40,
    msg: 'Stopped. Events are left in the queue: they are archived after the next start.',
    onDisk: 1,
  })
})

function logOf(program: Program): Record<string, unknown>[] {
  return program.stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
}
