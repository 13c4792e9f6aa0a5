/** Runs `frequency dead` of the built program on the dead letters of a real archiver. */
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { AsyncMessage, Channel } from 'rabbitmq-client'
import t, { type Test } from 'tap'
import { openQueue } from '../../src/queue/open-queue.ts'
import { configOf, eventOf, numberOf, silent, temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, Inbox, openChannel, uniqueQueueName } from '../helpers/queue-helper.ts'
import { serveApp } from '../plugins/served-app.ts'
import { rabbitmqctl } from '../services/rabbitmq.ts'
import { until } from '../services/wait.ts'
import { buildProgram, startProgram } from './program.ts'

const WAIT_MS_MAX = 60_000

const path = await buildProgram(t)

interface Letter {
  id: string
  deadSince: string | null
  reason: string
  bytes: number
  preview: string
}

interface Run {
  code: number | null
  stdout: string
  stderr: string
}

async function dead(t: Test, env: Record<string, string>, ...args: string[]): Promise<Run> {
  const program = startProgram(t, path, { args: ['dead', ...args], env, cwd: temporaryDirectory(t) })
  const { code } = await program.endsWithin(WAIT_MS_MAX)
  t.notMatch(program.output, /secret|guest/, 'no secret is printed')
  return { code, stdout: program.stdout, stderr: program.stderr }
}

async function letters(t: Test, env: Record<string, string>): Promise<Letter[]> {
  const { stdout } = await dead(t, env, 'list', '--json')
  return JSON.parse(stdout).letters
}

async function depthOf(channel: Channel, queue: string): Promise<number> {
  return (await channel.queueDeclare({ queue, passive: true })).messageCount
}

/** Resolves when all messages of the queue are ready, so no consumer holds one. */
async function hasReady(channel: Channel, queue: string, count: number): Promise<void> {
  await until(`${queue} has ${count}`, WAIT_MS_MAX, async () => (await depthOf(channel, queue)) === count)
}

/** Makes a queue with dead letters: its archiver has received bodies that cannot be archived. */
async function withDeadLetters(t: Test, bodies: readonly (string | Buffer)[]) {
  const queue = uniqueQueueName(t)
  const env = { AMQP_URL: brokerUrl(), AMQP_QUEUE: queue }
  const { app } = await serveApp(t, { ...env, ROLE: 'archive' })
  const channel = await openChannel(t)
  for (const body of bodies)
    await channel.basicPublish({ routingKey: queue, type: 'of.another' }, Buffer.from(body))
  await hasReady(channel, `${queue}.dead`, bodies.length)
  return { env, queue, channel, app }
}

/** Publishes an event to the dead-letter queue directly, as the broker does. */
async function bury(channel: Channel, queue: string, n: number, headers = {}): Promise<void> {
  const body = Buffer.from(JSON.stringify({ event: 'e', n, messageId: `id-${n}` }))
  await channel.basicPublish({ routingKey: `${queue}.dead`, appId: 'mine', headers }, body)
}

t.test('lists dead letters with their reason, and changes nothing', async t => {
  const { env, queue, channel } = await withDeadLetters(t, [
    'no json',
    '[1]',
    Buffer.from([0xff, 0x1b, 0x5b]),
  ])
  const before = await letters(t, env)
  t.same(
    before.map(({ reason, bytes, preview }) => [reason, bytes, preview]),
    [
      ['not a JSON object', 7, 'no json'],
      ['not a JSON object', 3, '[1]'],
      ['not a JSON object', 3, '\ufffd\\u{1b}['],
    ],
  )
  t.ok(Math.abs(Date.parse(String(before[0]?.deadSince)) - Date.now()) < WAIT_MS_MAX)
  for (let n = 0; n < 3; n++) t.same(await letters(t, env), before, 'however often they are listed')
  const queues = await rabbitmqctl('list_queues', 'name', 'arguments')
  t.match(
    queues,
    new RegExp(`^${queue}\\.dead\t.*"x-delivery-limit",1000000`, 'm'),
    'the delivery limit deletes none',
  )
  t.equal(await depthOf(channel, `${queue}.dead`), 3)

  const { code, stdout } = await dead(t, env)
  t.equal(code, 0)
  t.match(stdout, new RegExp(`RabbitMQ at 127.0.0.1:\\d+, queue ${queue}.dead: 3 dead letters`))
  t.match(stdout, before[0]?.id)
  t.notMatch(stdout, '\u001b', 'nothing that a terminal would obey')
  t.match((await dead(t, env, 'list', '--limit=1')).stdout, /and 2 more \(see --limit\)/)
  t.same(new Set((await letters(t, env)).map(({ id }) => id)), new Set(before.map(({ id }) => id)))
})

t.test('shows a whole letter, also as raw bytes', async t => {
  const bytes = Buffer.from('broken {"event"\nsecond line')
  const { env } = await withDeadLetters(t, [bytes])
  const [letter] = await letters(t, env)
  const shown = await dead(t, env, 'show', String(letter?.id))
  t.match(shown.stdout, /Reason: {6}not a JSON object \(rejected\)/)
  t.match(shown.stdout, /of\.another/)
  t.match(shown.stdout, 'broken {"event"\nsecond line')
  t.equal((await dead(t, env, 'show', String(letter?.id), '--raw')).stdout, bytes.toString())
  const report = JSON.parse((await dead(t, env, 'show', String(letter?.id), '--json')).stdout)
  t.match(report, { body: bytes.toString(), properties: { type: 'of.another' } })

  const unknown = await dead(t, env, 'show', 'nothing')
  t.equal(unknown.code, 1)
  t.match(unknown.stdout, 'There is no dead letter nothing')
})

t.test('drops only the named letters', async t => {
  const { env, queue, channel } = await withDeadLetters(t, ['a', 'b', 'c'])
  const [a, b, c] = await letters(t, env)
  const dropped = await dead(t, env, 'drop', String(b?.id), 'nothing')
  t.equal(dropped.code, 1, 'one of them was not there')
  t.match(dropped.stdout, '1 dropped, 0 left')
  t.same(await letters(t, env), [a, c])
  t.equal((await dead(t, env, 'drop', '--all')).code, 0)
  await hasReady(channel, `${queue}.dead`, 0)
})

t.test('retries the letters that can be archived', async t => {
  const { env, queue, channel, app } = await withDeadLetters(t, ['no json'])
  for (const n of [1, 2]) await bury(channel, queue, n, { own: 'kept', 'x-death': 'not' })
  await app.close()
  const listed = await letters(t, env)
  t.same(
    listed.map(({ reason }) => reason),
    ['not a JSON object', 'not known', 'not known'],
  )
  const retried = await dead(t, env, 'retry', '--all')
  t.equal(retried.code, 1)
  t.match(
    retried.stdout,
    /is not a JSON object and would be dead-lettered again\. Drop it\.\n2 retried, 1 left/,
  )
  t.same(await letters(t, env), [listed[0]])

  const messages: AsyncMessage[] = []
  await channel.basicConsume({ queue }, message => messages.push(message))
  await until('both have come', WAIT_MS_MAX, () => messages.length === 2)
  t.same(
    messages.map(({ body }) => numberOf(body)),
    [1, 2],
    'in their order',
  )
  t.match(messages[0], { appId: 'mine', headers: { own: 'kept' }, durable: true })
  t.notOk('x-death' in (messages[0]?.headers ?? {}))
})

t.test('a retried message keeps its group and ids', async t => {
  const queue = uniqueQueueName(t)
  const env = { AMQP_URL: brokerUrl(), AMQP_QUEUE: queue }
  const opened = await openQueue(configOf({ ...env, ROLE: 'ingest', SPOOL: 'off' }), silent)
  t.teardown(() => opened.close())
  await Promise.all([1, 2].map(n => opened.publish(eventOf({ event: 'e', n }))))
  let isFirst = true
  const inbox = new Inbox(opened, (delivery, consumer) => {
    if (isFirst) consumer.dead(delivery)
    isFirst = false
  })
  const channel = await openChannel(t)
  await hasReady(channel, `${queue}.dead`, 1)
  const [letter] = await letters(t, env)
  t.match(letter, { reason: 'a consumer rejected it, but it could be archived' })
  t.equal((await dead(t, env, 'retry', String(letter?.id))).code, 0)
  await inbox.receives(2)
  t.same(inbox.numbers, [1, 2, 1, 2])
  t.match(inbox.at(1).group, { count: 2, ids: inbox.at(0).group?.ids })
})

t.test('letters that the queue does not take stay', async t => {
  const { env, queue, channel, app } = await withDeadLetters(t, [])
  await app.close()
  for (let n = 0; n < 60; n++) await bury(channel, queue, n)
  await rabbitmqctl('set_policy', '--apply-to', 'queues', queue, `^${queue}$`, '{"max-length":1}')
  t.teardown(() => rabbitmqctl('clear_policy', queue).catch(() => {}))
  await hasReady(channel, `${queue}.dead`, 60)
  const { code, stderr } = await dead(t, env, 'retry', '--all')
  t.equal(code, 2)
  const [, retried] = /the queue is full.* \((\d+) retried before that; the others stay\)/.exec(stderr) ?? []
  await hasReady(channel, `${queue}.dead`, 60 - Number(retried))
  await hasReady(channel, queue, Number(retried))
})

t.test('nothing is lost if the command is killed in the middle', async t => {
  const { env, queue, channel, app } = await withDeadLetters(t, [])
  await app.close()
  for (let n = 0; n < 2_000; n++) await bury(channel, queue, n)
  await hasReady(channel, `${queue}.dead`, 2_000)
  const program = startProgram(t, path, { args: ['dead', 'retry', '--all'], env, cwd: temporaryDirectory(t) })
  await until('some letters are retried', WAIT_MS_MAX, async () => (await depthOf(channel, queue)) > 20)
  t.equal((await program.kill('SIGKILL').ended).signal, 'SIGKILL', 'before it was done')

  const numbers: number[] = []
  const take = (message: AsyncMessage) => numbers.push(numberOf(message.body))
  await channel.basicConsume({ queue }, take)
  await channel.basicConsume({ queue: `${queue}.dead` }, take)
  await until('all are there', WAIT_MS_MAX, () => new Set(numbers).size === 2_000)
  t.ok(numbers.length <= 2_001, 'at most the letter in flight is there twice')
})

t.test('says what to do if the queue or the broker is not there', async t => {
  const missing = await dead(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: 'test-mistyped' }, 'list')
  t.equal(missing.code, 2)
  t.match(missing.stderr, /^frequency: AMQP_QUEUE: .* has no queue test-mistyped with test-mistyped\.dead/)
  const away = await dead(t, { AMQP_URL: 'amqp://me:secret@127.0.0.1:1' }, 'list', '--json')
  t.equal(away.code, 2)
  t.match(JSON.parse(away.stdout).error, /127\.0\.0\.1:1 cannot be reached/)
  const wrong = new URL(brokerUrl())
  wrong.password = 'wrong-secret'
  t.match((await dead(t, { AMQP_URL: wrong.href }, 'list')).stderr, /ACCESS_REFUSED|refuse/i)
  t.equal((await dead(t, {}, 'drop')).code, 2, 'ids, or all')
})

t.test('the embedded queue, when no process has it open', async t => {
  const DATA_DIR = temporaryDirectory(t)
  const env = { DATA_DIR }
  const none = await dead(t, env)
  t.equal(none.code, 2)
  t.match(none.stderr, `DATA_DIR: there is no queue in ${join(DATA_DIR, 'queue')}.`)
  const queue = await openQueue(configOf(env), silent)
  for (let n = 0; n < 4; n++) await queue.publish(eventOf({ event: 'e', n }))
  const inbox = new Inbox(queue)
  await inbox.receives(4)
  for (const index of [0, 1, 2]) inbox.consumer.dead(inbox.at(index))
  inbox.consumer.ack(inbox.through(0))
  const locked = await dead(t, env)
  t.equal(locked.code, 2)
  t.match(
    locked.stderr,
    `process ${process.pid} on ${hostname()} is using ${join(DATA_DIR, 'queue')}. Stop that process`,
  )
  await queue.close()

  const [first, second, third, ...more] = await letters(t, env)
  t.same(more, [])
  t.match(first, { reason: 'not known', preview: /"n":0/ })
  t.equal((await dead(t, env, 'drop', String(first?.id), String(second?.id))).code, 0)
  t.same(await letters(t, env), [third])
  t.equal((await dead(t, env, 'retry', '--all')).code, 0)
  t.same(await letters(t, env), [])

  const again = await openQueue(configOf(env), silent)
  t.teardown(() => again.close())
  const left = new Inbox(again)
  await left.receives(2)
  await left.isQuiet()
  t.same(left.numbers, [3, 2], 'the dropped events are gone, the retried event is last')
})
