/** Tests of the embedded queue alone: crashes of its process, its lock, its limit, its directory. */
import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, rmdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { promisify } from 'node:util'
import { type Test, test } from 'tap'
import { openQueue } from '../../../src/queue/open-queue.ts'
import type { Queue } from '../../../src/queue/queue.ts'
import { configOf, eventOf, numberedEvents, range, silent, temporaryDirectory } from '../../helpers/helper.ts'
import { Inbox, publishesAgain } from '../../helpers/queue-helper.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 60_000
const KIB = 1024
const MIB = 1024 * KIB
const run = promisify(execFile)
const PROGRAM = new URL('../../helpers/embedded-process.ts', import.meta.url).pathname

async function open(t: Test, settings: Record<string, string>): Promise<Queue> {
  const queue = await openQueue(configOf(settings), silent)
  t.teardown(() => queue.close())
  return queue
}

function bytesBelow(path: string): number {
  const entries = readdirSync(path, { withFileTypes: true, recursive: true })
  return entries.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0)
}

interface OtherProcess {
  /** Lines that the process has printed. */
  readonly lines: string[]
  /** Resolves once it has printed this many lines. */
  prints(count: number): Promise<void>
  kill(): Promise<void>
  end(): Promise<void>
}

/** A process that opens the queue in `dataDir`, and publishes with `inFlight` events at a time. */
function startProcess(t: Test, dataDir: string, inFlight = 0): OtherProcess {
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(
    process.execPath,
    ['--import=tsx', PROGRAM, dataDir, String(inFlight)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const lines: string[] = []
  const reader = createInterface({ input: child.stdout })
  reader.on('line', line => lines.push(line))
  const exit = Promise.all([once(child, 'exit'), once(reader, 'close')])
  const kill = async () => {
    child.kill('SIGKILL')
    await exit
  }
  t.teardown(kill)
  return {
    lines,
    prints: count => until(`it prints ${count} lines`, WAIT_MS_MAX, () => lines.length >= count),
    kill,
    end: async () => {
      child.stdin.end()
      await exit
    },
  }
}

test('confirmed events survive a SIGKILL of their process', async t => {
  const dataDir = temporaryDirectory(t)
  const confirmed: number[][] = []
  for (const [inFlight, count] of [
    [1, 20],
    [64, 300],
    [512, 2_000],
  ] as const) {
    const other = startProcess(t, dataDir, inFlight)
    await other.prints(1 + count)
    await other.kill()
    t.equal(other.lines[0], 'open')
    confirmed.push(other.lines.slice(1).map(Number))
  }

  const queue = await open(t, { DATA_DIR: dataDir, BATCH_EVENTS_MAX: '1000000' })
  const inbox = new Inbox(queue)
  await until('all is delivered', WAIT_MS_MAX, async () => (await queue.depth()) === 0)
  // Each process numbers its events from 0. The queue has the events of one process after those of the one before.
  let position = -1
  for (const numbers of confirmed) {
    const from = inbox.numbers.indexOf(0, position + 1)
    t.not(from, -1)
    const to = inbox.numbers.indexOf(0, from + 1)
    const delivered = new Set(inbox.numbers.slice(from, to === -1 ? undefined : to))
    t.same(
      numbers.filter(n => !delivered.has(n)),
      [],
      `${numbers.length} confirmed, ${delivered.size} delivered`,
    )
    position = from
  }
})

test('one process at a time can open a directory', async t => {
  const dataDir = temporaryDirectory(t)
  const other = startProcess(t, dataDir)
  await other.prints(1)
  t.same(other.lines, ['open'])

  const refusal = {
    code: 'FRQ_CONFIG_INVALID',
    message:
      /^DATA_DIR: process \d+ on \S+ is using \S+\. Stop that process, or give this one another DATA_DIR\.$/,
  }
  await t.rejects(open(t, { DATA_DIR: dataDir }), refusal)
  await t.rejects(open(t, { DATA_DIR: dataDir }), refusal, 'the first refusal does not release the lock')
  await other.end()
  const queue = await open(t, { DATA_DIR: dataDir })
  const third = startProcess(t, dataDir)
  await third.prints(1)
  t.match(third.lines[0], refusal.message)
  await t.rejects(open(t, { DATA_DIR: dataDir }), refusal, 'within one process too')

  await queue.close()
  await open(t, { DATA_DIR: dataDir })
})

test('a killed process leaves no lock behind', async t => {
  const dataDir = temporaryDirectory(t)
  const other = startProcess(t, dataDir)
  await other.prints(1)
  t.same(other.lines, ['open'])
  await other.kill()
  const queue = await open(t, { DATA_DIR: dataDir })
  t.equal(await queue.publish(eventOf({ event: 'e' })), 'disk')
})

test('new events come after those of earlier runs', async t => {
  const dataDir = temporaryDirectory(t)
  for (const run of range(3)) {
    const queue = await open(t, { DATA_DIR: dataDir })
    const inbox = new Inbox(queue)
    for (const event of numberedEvents(10, run * 10)) await queue.publish(event)
    await inbox.receives(10)
    if (run === 0) inbox.consumer.ack(inbox.deliveries)
    if (run === 1) inbox.consumer.dead(inbox.at(-1))
    await queue.close()
  }
  const inbox = new Inbox(await open(t, { DATA_DIR: dataDir }))
  await inbox.receives(19)
  t.same(inbox.numbers, [...range(29).slice(10, 19), ...range(30).slice(20)])
})

test('a full queue refuses events, and accepts them again once there is room', async t => {
  const dataDir = temporaryDirectory(t)
  const spoolBytesMax = 4 * MIB
  const queue = await open(t, { DATA_DIR: dataDir, SPOOL_BYTES_MAX: String(spoolBytesMax) })
  const body = Buffer.alloc(64 * KIB, 'x')
  const inbox = new Inbox(queue)
  let published = 0

  for (const _ of range(3)) {
    let refusal: unknown
    await until('it is full', WAIT_MS_MAX, async () => {
      try {
        for (;;) {
          await queue.publish({ messageId: 'm', body })
          published++
          if (published > 10_000) return false
        }
      } catch (error) {
        refusal = error
        return true
      }
    })
    t.match(refusal, { code: 'FRQ_QUEUE_UNAVAILABLE', statusCode: 503, message: /SPOOL_BYTES_MAX/ })
    t.ok(published >= (spoolBytesMax / body.length) * 0.8, `${published} fit`)
    await inbox.receives(published)
    inbox.consumer.ack(inbox.deliveries)
    await publishesAgain(queue)
    published++
    await inbox.receives(published)
    inbox.consumer.ack(inbox.deliveries)
  }
  await until('all is removed', WAIT_MS_MAX, async () => (await queue.depth()) === 0)
  const size = bytesBelow(dataDir)
  t.ok(size < 3 * spoolBytesMax, `space is reused: ${published * body.length} bytes in ${size}`)
})

test('an unusable DATA_DIR is refused with a message of one line', async t => {
  const parent = temporaryDirectory(t)
  writeFileSync(join(parent, 'file'), '')
  mkdirSync(join(parent, 'taken'))
  writeFileSync(join(parent, 'taken', 'queue'), '')
  const refused = [
    join(parent, 'file'),
    join(parent, 'file', 'below'),
    join(parent, 'taken'),
    join(parent, 'long'.repeat(30)),
  ]
  for (const dataDir of refused) {
    await t.rejects(
      open(t, { DATA_DIR: dataDir }),
      { code: 'FRQ_CONFIG_INVALID', message: /^DATA_DIR: [^\r\n]+ cannot be (?:opened in|used)[^\r\n]+$/ },
      dataDir,
    )
  }
})

test('a refused directory is not left locked', async t => {
  const dataDir = temporaryDirectory(t)
  const obstacle = join(dataDir, 'queue', 'data.mdb')
  mkdirSync(obstacle, { recursive: true })
  await t.rejects(open(t, { DATA_DIR: dataDir }), { code: 'FRQ_CONFIG_INVALID' })
  rmdirSync(obstacle)
  const queue = await open(t, { DATA_DIR: dataDir })
  t.equal(await queue.publish(eventOf({ event: 'e' })), 'disk')
})

test('a full disk refuses events, and the queue works again when there is room', async t => {
  const dataDir = temporaryDirectory(t)
  const withLimit = 'ulimit -f 16384 && exec "$0" --import=tsx "$@"'
  const program = new URL('../../helpers/full-disk-process.ts', import.meta.url).pathname
  const { stdout } = await run('sh', ['-c', withLimit, process.execPath, program, dataDir])
  const { confirmed, delivered, refusals, trouble, troubleWhenFull } = JSON.parse(stdout)
  t.ok(confirmed > 50, `${confirmed} confirmed`)
  t.equal(delivered, confirmed + 1)
  for (const refusal of refusals) {
    t.match(refusal, { code: 'FRQ_QUEUE_UNAVAILABLE', message: /cannot be written/ })
  }
  t.match(troubleWhenFull, /^embedded, in /)
  t.equal(trouble, undefined)
})
