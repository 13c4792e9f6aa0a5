/** The error messages of commands with wrong arguments. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import { freePort } from '../services/ports.ts'
import { until } from '../services/wait.ts'
import { buildProgram, startProgram } from './program.ts'

/** A start waits for S3 for three seconds. */
const FAILED_START_MS_MAX = 20_000
const END_MS_MAX = 60_000

const path = await buildProgram(t)

interface Call {
  readonly args: readonly string[]
  readonly env?: Record<string, string>
  readonly code: number
  readonly says: RegExp
}

const CALLS: Call[] = [
  { args: ['srve'], code: 2, says: /unknown command 'srve'\. Did you mean serve\?/ },
  { args: ['publish'], code: 2, says: /unknown command 'publish'\. The commands are serve, verify, log, / },
  { args: ['dead', 'lst'], code: 2, says: /unknown command 'lst'\. Did you mean list\?/ },
  {
    args: ['dead', 'purge'],
    code: 2,
    says: /unknown command 'purge'\. The commands are list, show, retry, drop\./,
  },
  { args: ['dead', 'list', 'lst'], code: 2, says: /too many arguments for 'list'/ },
  { args: ['dead', 'drop'], code: 2, says: /name the ids to drop, or give --all/ },
  { args: ['log', 'shw'], code: 2, says: /unknown command 'shw'\. Did you mean show\?/ },
  { args: ['log', 'biuld'], code: 2, says: /unknown command 'biuld'\. Did you mean build\?/ },
  { args: ['log', 'nowhere'], code: 2, says: /archive-url: there is no directory \/.*\/nowhere\./ },
  { args: ['log', 'repair', 'one'], code: 2, says: /whole number/ },
  { args: ['check', '--nope'], code: 1, says: /unknown option '--nope'\. See frequency check --help\./ },
  { args: ['check', '--prot=1'], code: 1, says: /unknown option '--prot=1'\. Did you mean --port\?/ },
  { args: ['check', '--data=x'], code: 1, says: /Did you mean --data-dir\?/ },
  { args: ['dead', 'list', '--nope'], code: 2, says: /See frequency dead list --help\./ },
  {
    args: ['status', '--limit=1'],
    code: 2,
    says: /unknown option '--limit=1'\. See frequency status --help\./,
  },
  { args: ['status', '--port=0'], code: 2, says: /PORT is 0, .* name the server with --url/ },
  { args: ['status'], env: { ADMIN_PORT: '0' }, code: 2, says: /ADMIN_PORT is 0/ },
  { args: ['status'], env: { ADMIN_HOST: '::1' }, code: 2, says: /ADMIN_HOST \(::1\) needs ADMIN_PORT/ },
  { args: ['status', '--url', ''], code: 2, says: /--url must be like http:/ },
  { args: ['status', '--port=port'], code: 2, says: /PORT must be a whole number .*, not "port"/ },
  { args: ['verify', 'nowhere'], code: 2, says: /archive-url: there is no directory \/.*\/nowhere\./ },
  { args: ['verify', 's3://'], code: 2, says: /archive-url must be s3:\/\/bucket\/prefix/ },
  { args: ['verify'], code: 2, says: /DATA_DIR: there is no directory .*archive\. Name the archive, or/ },
  { args: ['verify'], env: { ARCHIVE_URL: 'nowhere' }, code: 2, says: /ARCHIVE_URL: there is no directory/ },
  ...[
    ['erase', '--yes', "--where=user_id = '1'"],
    ['replay', '--output=-'],
  ].map(args => ({
    args,
    env: { ARCHIVE_URL: '.' },
    code: 2,
    says: /ARCHIVE_URL: there is no archive in directory .*: it has nothing below frequency\//,
  })),
  { args: ['verify', '--list=x'], code: 2, says: /whole number from 0 to/ },
  { args: ['verify', '--s3-idle-ms-max=soon', 's3://b'], code: 2, says: /S3_IDLE_MS_MAX .*milliseconds/ },
  {
    args: ['verify', 's3://b'],
    env: { AWS_ENDPOINT_URL: 'b' },
    code: 2,
    says: /AWS_ENDPOINT_URL must be a URL/,
  },
  {
    args: ['dead', '--data-dir=./typo'],
    code: 2,
    says: /DATA_DIR: there is no queue in \/.*\/typo\/queue\./,
  },
  { args: ['serve', '--batch-age-ms-max=10 sec'], code: 1, says: /\(milliseconds\), or one with a unit/ },
  { args: ['serve', '--body-bytes-max=1M'], code: 1, says: /\(bytes\), or one with a unit/ },
  { args: ['serve', '--port='], code: 1, says: /--port is empty: give it a value, or leave it out\./ },
  { args: ['verify', '--data-dir='], code: 2, says: /--data-dir is empty/ },
  { args: ['serve'], env: { AMQP_URL: 'amqp://' }, code: 1, says: /AMQP_URL must be a URL like amqp:/ },
  { args: ['serve', '--port'], code: 1, says: /'--port <value>' argument missing/ },
  { args: ['tail', '--filter', '=x', '--url', 'localhost'], code: 2, says: /A filter is/ },
  { args: ['tail', '--ui-token=short'], code: 2, says: /UI_TOKEN must be 16 to 200 characters/ },
  { args: ['tail', '--nope'], code: 2, says: /unknown option '--nope'/ },
  { args: ['health', '--nope'], code: 1, says: /unknown option '--nope'/ },
  ...[
    ['query', 'select 1'],
    ['replay', '--output=-'],
    ['erase', '--where=true'],
    ['expire', '--retention=30d'],
    ['compact'],
  ].flatMap((args): Call[] => [
    { args: [...args, '--nope'], code: 2, says: /unknown option '--nope'/ },
    { args, env: { ARCHIVE_URL: 'nowhere' }, code: 2, says: /ARCHIVE_URL: there is no directory/ },
    { args, env: { ARCHIVE_URL: 's3://' }, code: 2, says: /ARCHIVE_URL must be s3:\/\/bucket\/prefix/ },
  ]),
  { args: ['erase'], code: 2, says: /--where is missing/ },
  { args: ['expire'], code: 2, says: /RETENTION and RAW_RETENTION are not set/ },
  { args: ['query'], code: 2, says: /There is no SQL|there is no directory/ },
  { args: ['query', 'select 1', '--since=soon'], code: 2, says: /--since must be/ },
  { args: ['replay'], code: 2, says: /Say where to/ },
  {
    args: ['replay', '--to=http://user:secret@127.0.0.1:4000?key=hidden'],
    code: 2,
    says: /--to has no path\. .* http:\/\/127\.0\.0\.1:4000\/api\/t\/batch, or [^ ]*\/v1\/batch .*webhook write its path/,
  },
  {
    args: ['replay', '--to=127.0.0.1:4000'],
    code: 2,
    says: /--to must be a URL, like http:.*\/api\/t\/batch/,
  },
  { args: ['replay', '--output=-', '--rate=x'], code: 2, says: /--rate must be/ },
]

for (const { args, env = {}, code, says } of CALLS) {
  t.test(`frequency ${args.join(' ')} ${Object.keys(env).join(' ')}`, async t => {
    const cwd = temporaryDirectory(t)
    const program = startProgram(t, path, { args, env, cwd })
    t.match(await program.endsWithin(END_MS_MAX), { code })
    t.match(program.stderr, /^(?:error|frequency): [^\n]+\n$/, 'one line')
    t.match(program.stderr, says)
    t.equal(program.stdout, '')
    t.strictSame(readdirSync(cwd), [], 'nothing is made')
  })
}

t.test('a directory with a name similar to a command is taken as the archive', async t => {
  const cwd = temporaryDirectory(t)
  mkdirSync(join(cwd, 'shw'))
  const program = startProgram(t, path, { args: ['log', 'shw'], cwd })
  t.match(await program.endsWithin(END_MS_MAX), { code: 2 })
  t.match(program.stderr, 'The archive has no log')
})

t.test('the error names a server that is not frequency, or cannot be reached, and the reason', async t => {
  const html = createServer((_, response) => response.end('<p>hello')).listen(0, '127.0.0.1')
  t.teardown(() => html.close())
  await until('it listens', END_MS_MAX, () => html.listening)
  const other = `http://127.0.0.1:${(html.address() as AddressInfo).port}`
  const nobody = `127.0.0.1:${await freePort()}`
  for (const [url, says] of [
    [other, 'its answer is not JSON'],
    [nobody, `http://${nobody} cannot be asked: nothing listens there (connect ECONNREFUSED ${nobody})`],
    ['nowhere.invalid:4000', 'there is no host nowhere.invalid'],
  ] as const) {
    const program = startProgram(t, path, { args: ['status', '--url', url], cwd: temporaryDirectory(t) })
    t.match(await program.endsWithin(END_MS_MAX), { code: 2 })
    t.match(program.stderr, says)
  }
})

t.test('a start that fails ends, also while S3 does not answer', async t => {
  const silent = createTcpServer(() => {}).listen(0, '127.0.0.1')
  t.teardown(() => silent.close())
  await until('it listens', END_MS_MAX, () => silent.listening)
  const cwd = temporaryDirectory(t)
  mkdirSync(join(cwd, 'data'))
  writeFileSync(join(cwd, 'data', 'queue'), '')
  const env = {
    PORT: '0',
    ARCHIVE_URL: 's3://bucket',
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'a',
    AWS_SECRET_ACCESS_KEY: 'b',
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`,
  }
  const program = startProgram(t, path, { env, cwd })
  t.match(await program.endsWithin(FAILED_START_MS_MAX), { code: 1, signal: null })
  t.match(program.stdout, /"level":60/)
})
