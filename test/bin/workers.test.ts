import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { configOf, range, temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, uniqueQueueName } from '../helpers/queue-helper.ts'
import type { Program } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { archivedObjects, numbersIn } from './archived.ts'
import { Posts } from './posts.ts'
import { buildProgram, startProgram } from './program.ts'

const WAIT_MS_MAX = 60_000

const path = await buildProgram(t)

function run(t: Test, env: Record<string, string>): Program {
  return startProgram(t, path, {
    cwd: temporaryDirectory(t),
    env: { PORT: '0', WORKERS: '2', ARCHIVE_URL: 'archive', ...env },
  })
}

/** Process ids of all workers that have listened, in the order of their start. */
function workersOf({ stdout }: Program): number[] {
  const listening = stdout.split('\n').filter(line => line.includes('Server listening'))
  return listening.map(line => Number(/"pid":(\d+)/.exec(line)?.[1]))
}

async function hasWorkers(program: Program, count: number): Promise<number[]> {
  await until(`${count} workers have listened`, WAIT_MS_MAX, () => workersOf(program).length >= count)
  return workersOf(program)
}

/** Whether the process runs. A zombie does not count. */
function runs(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** Events that all workers have taken, from the `/metrics` of any worker. */
async function takenByMetrics(url: string): Promise<number> {
  const response = await fetch(`${url}/metrics`, { headers: { connection: 'close' } })
  const lines = (await response.text()).split('\n').filter(line => line.startsWith('frequency_events_total'))
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

t.test('workers share a port; a killed worker is replaced, and no event that got 200 is lost', async t => {
  const archive = temporaryDirectory(t)
  const DATA_DIR = temporaryDirectory(t)
  const AMQP_QUEUE = uniqueQueueName(t)
  const program = run(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE, ARCHIVE_URL: archive, DATA_DIR })
  const url = await program.listening()
  const [first, second] = await hasWorkers(program, 2)
  t.not(first, second)
  t.not(first, program.pid)
  t.match(program.stderr, /role: all, 2 workers\)/)
  for (const own of ['spool', 'dedupe']) t.same(readdirSync(join(DATA_DIR, own)).sort(), ['0', '1'])

  const posts = new Posts(t, url)
  await posts.post(200)
  t.equal(await takenByMetrics(url), 200)
  process.kill(first as number, 'SIGKILL')
  await hasWorkers(program, 3)
  t.match(program.stdout, /A worker has exited\. Replacing it/)
  await posts.post(200)
  // Every worker answers with the sum of all, including the counts of the killed worker.
  t.strictSame(await Promise.all(range(6).map(() => takenByMetrics(url))), Array(6).fill(400))
  const status = (await (await fetch(`${url}/status`)).json()) as { role: string; books: unknown[] }
  t.equal(
    new Set(status.books.map(book => JSON.stringify(book))).size >= 2,
    true,
    'a ledger entry of each worker',
  )
  t.match(await program.stop(), { code: 0, signal: null })

  const numbers = numbersIn(await archivedObjects(configOf({ ARCHIVE_URL: archive }))).map(Number)
  t.equal(new Set(numbers).size, numbers.length, 'none twice')
  t.equal(numbers.length, 400)
})

t.test('a signal to all processes at once counts as one signal', async t => {
  const program = run(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) })
  await program.listening()
  const workers = await hasWorkers(program, 2)
  for (const pid of workers) process.kill(pid, 'SIGTERM')
  t.match(await program.stop(), { code: 0, signal: null })
  t.notMatch(program.stdout, /stopping at once/)
})

t.test('a signal also ends workers that are still starting', async t => {
  const rabbitmq = { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) }
  const one = run(t, { ...rabbitmq, SHUTDOWN_MS_MAX: String(WAIT_MS_MAX) })
  // The second is started once the first listens.
  await one.listening()
  t.match(await one.kill('SIGTERM').endsWithin(WAIT_MS_MAX / 2), { code: 0, signal: null })

  const AWS = { AWS_REGION: 'us-east-1', AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' }
  const away = { ARCHIVE_URL: 's3://away', AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1', ...AWS }
  const none = run(t, { ...rabbitmq, ...away, SHUTDOWN_MS_MAX: String(WAIT_MS_MAX) })
  await none.says(/S3 cannot be used now/)
  t.match(await none.kill('SIGTERM').endsWithin(WAIT_MS_MAX / 2), { code: 0, signal: null })
})

t.test('workers do not outlive a primary that is killed', async t => {
  const program = run(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) })
  await program.listening()
  const workers = await hasWorkers(program, 2)
  await program.kill('SIGKILL').ended
  for (const pid of workers) await until(`${pid} has ended`, WAIT_MS_MAX, () => !runs(pid))
})

t.test('a worker that cannot be started does not end the others', async t => {
  const program = run(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) })
  const url = await program.listening()
  const [first] = await hasWorkers(program, 2)
  // The limit is below the number of open files of the primary, so it cannot create a pipe for another worker.
  const limit = (files: number) => execFileSync('prlimit', [`--pid=${program.pid}`, `--nofile=${files}:`])
  limit(8)
  process.kill(first as number, 'SIGKILL')
  await program.says(/EMFILE/)
  limit(1024)
  await hasWorkers(program, 3)
  await new Posts(t, url).post(20)
  t.match(await program.stop(), { code: 0, signal: null })
})

t.test('a second signal stops all workers at once', async t => {
  const program = run(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) })
  const { hostname, port } = new URL(await program.listening())
  await hasWorkers(program, 2)
  // An open connection delays a shutdown by a second.
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  program.kill('SIGINT')
  await program.says(/Shutting down/)
  t.match(await program.stop(), { code: 1, signal: null })
})

t.test('an error at the start is reported once, by the first worker', async t => {
  const busy = run(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) })
  const { port } = new URL(await busy.listening())
  const settings: [Record<string, string>, RegExp][] = [
    [{}, /WORKERS \(2\) needs AMQP_URL/],
    [{ AMQP_URL: brokerUrl(), PORT: port }, /PORT: .* in use/],
    [{ AMQP_URL: brokerUrl(), WORKERS: 'many' }, /WORKERS must be a whole number from 1 to 256, or auto/],
  ]
  for (const [env, refusal] of settings) {
    const program = run(t, env)
    t.match(await program.endsWithin(WAIT_MS_MAX), { code: 1 })
    t.match(program.output.trim(), refusal)
    t.equal(program.output.trim().split('\n').length, 1, program.output)
  }
})

t.test('every worker shows the objects that another one archived', async t => {
  const ARCHIVE_URL = temporaryDirectory(t)
  const env = { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t), ARCHIVE_URL, BATCH_EVENTS_MAX: '10' }
  const program = run(t, env)
  const url = await program.listening()
  await hasWorkers(program, 2)
  await new Posts(t, url).post(10)
  const objects = () => archivedObjects(configOf({ ARCHIVE_URL }))
  await until('an object is in the archive', WAIT_MS_MAX, async () => (await objects()).length === 1)
  const [object] = await objects()
  await until('the worker knows', WAIT_MS_MAX, () => program.stdout.includes('Batch archived.'))
  for (const _ of range(6)) {
    const path = `/ui/object?key=${encodeURIComponent(object?.key ?? '')}`
    const response = await fetch(url + path, { headers: { connection: 'close' } })
    t.equal(response.status, 200)
    t.equal(response.headers.get('frequency-events'), '10')
  }
})
