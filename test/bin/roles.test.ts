import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { archivedEvent, build, objectOf, openArchive, putObject } from '../helpers/archive-by-hand.ts'
import { configOf, range, temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import type { Program } from '../services/program.ts'
import { rabbitmqctl } from '../services/rabbitmq.ts'
import { startTcpProxy } from '../services/tcp-proxy.ts'
import { until } from '../services/wait.ts'
import { archivedObjects, numbersIn } from './archived.ts'
import { Posts } from './posts.ts'
import { buildProgram, runProgram, startProgram } from './program.ts'
import { testBucket } from './s3-bucket.ts'

const READY_MS_MAX = 60_000

const path = await buildProgram(t)

function run(t: Test, args: string[], env: Record<string, string>): Program {
  return startProgram(t, path, {
    cwd: temporaryDirectory(t),
    args: ['serve', ...args],
    env: { PORT: '0', ...env },
  })
}

async function waitingFor(url: string): Promise<string[]> {
  const response = await fetch(`${url}/healthz`)
  return ((await response.json()) as { waitingFor: string[] }).waitingFor
}

async function isWell(url: string): Promise<void> {
  await until(`${url} is well`, READY_MS_MAX, async () => (await waitingFor(url)).length === 0)
}

t.test(
  'two processes per role, with RabbitMQ and S3, archive each event once, in full batches but for the last',
  async t => {
    const AMQP_QUEUE = uniqueQueueName(t)
    const bucket = await testBucket(t)
    const ARCHIVE_URL = `s3://${bucket.name}/some/prefix`
    const batches = { BATCH_EVENTS_MAX: '100', BATCH_AGE_MS_MAX: '60000' }
    const env = { ...bucket.env, AMQP_URL: brokerUrl(), AMQP_QUEUE, ARCHIVE_URL, ...batches }
    const ingest = [run(t, ['--role=ingest'], env), run(t, ['--role=ingest'], env)]
    const archive = [run(t, ['--role=archive'], env), run(t, ['--role=archive'], env)]
    const archiveUrls = await Promise.all(archive.map(program => program.listening()))
    await Promise.all(archiveUrls.map(isWell))

    const posts = await Promise.all(ingest.map(async program => new Posts(t, await program.listening())))
    await Promise.all(posts.map(each => each.post(400)))
    await Promise.all([...ingest, ...archive].map(program => program.stop()))

    const objects = await archivedObjects(configOf({ ARCHIVE_URL, S3_FORCE_PATH_STYLE: 'true' }))
    for (const { key } of objects)
      t.match(key, /^some\/prefix\/dt=\d{4}-\d\d-\d\d\/hour=\d\d\/batch_\d{8}T\d{9}Z_[0-9a-f]+\.ndjson\.gz$/)
    // RabbitMQ may give some deliveries to the consumer of lower priority while the other one is busy.
    const partial = objects.filter(({ lines }) => lines.length < 100)
    t.ok(partial.length <= archive.length, `${partial.length} batches are not full`)
    t.ok(objects.every(({ lines }) => lines.length <= 100))
    const events = objects.flatMap(({ lines }) => lines.map(line => JSON.parse(line)))
    t.equal(new Set(events.map(event => event.messageId)).size, 800)
    const numbers = numbersIn(objects).map(Number)
    t.strictSame(
      numbers.toSorted((a, b) => a - b),
      Array.from({ length: 800 }, (_, index) => Math.floor(index / 2)),
    )
    const [firstIngest, firstArchive] = [ingest[0]?.stderr, archive[0]?.stderr]
    t.match(firstIngest, /role: ingest.*queue\s+RabbitMQ at \S+, queue test-.*curl/s)
    t.notMatch(firstIngest, /archive {2}/)
    t.match(firstArchive, /role: archive.*archive\s+S3, s3:\/\/\S+\/some\/prefix/s)
    t.notMatch(firstArchive, /curl/)
  },
)

t.test('events of an archive reach the archive of another queue, with their own times', async t => {
  const from = await openArchive(t, 'directory')
  const events = range(20).map(n => archivedEvent({ n }))
  await putObject(from, objectOf(events))
  await build(from, from.store)
  const queue = { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) }
  const to = { ...queue, ARCHIVE_URL: temporaryDirectory(t), DATA_DIR: temporaryDirectory(t) }
  const archiver = run(t, ['--role=archive'], { ...to, BATCH_EVENTS_MAX: '20' })
  await isWell(await archiver.listening())
  const env = { ...queue, ...from.settings, DATA_DIR: temporaryDirectory(t) }
  const replayed = await runProgram(t, path, ['replay', '--to=queue'], env)
  t.match(replayed, { code: 0, stderr: /to the queue\.[\s\S]*Done: 20 events/ })
  t.notMatch(replayed.stderr, /amqp:/)
  const { ARCHIVE_URL } = to
  await until('they are archived', READY_MS_MAX, async () => {
    const [object] = await archivedObjects(configOf({ ARCHIVE_URL }))
    return object?.lines.length === 20
  })
  const lines = (await archivedObjects(configOf({ ARCHIVE_URL }))).flatMap(object => object.lines)
  const parsed = (texts: readonly string[]) => texts.map(each => JSON.parse(each)).sort((a, b) => a.n - b.n)
  t.strictSame(parsed(lines), parsed(events))
  await archiver.stop()
})

t.test('waits for a broker and an S3 server that are not up yet', async t => {
  const AMQP_QUEUE = uniqueQueueName(t)
  const bucket = await testBucket(t)
  const broker = await openNetwork(t)
  const s3 = await startTcpProxy({ port: Number(new URL(bucket.endpoint).port) })
  t.teardown(() => s3.close())
  await Promise.all([broker.refuse(), s3.refuse()])
  const ARCHIVE_URL = `s3://${bucket.name}`
  const program = run(t, [], {
    ...bucket.env,
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${s3.port}`,
    AMQP_URL: broker.url,
    AMQP_QUEUE,
    ARCHIVE_URL,
    SPOOL: 'off',
    BATCH_AGE_MS_MAX: '100',
  })
  const url = await program.listening()
  await until('it says that it waits', READY_MS_MAX, async () => (await waitingFor(url)).length > 0)
  const response = await fetch(`${url}/api/t`, { method: 'POST', body: new URLSearchParams({ event: 'a' }) })
  t.equal(response.status, 503)

  await broker.accept()
  const posts = new Posts(t, url)
  await until('it takes events', READY_MS_MAX, () =>
    posts.post(1).then(
      () => true,
      () => false,
    ),
  )
  await s3.accept()
  await isWell(url)
  const config = configOf({ ARCHIVE_URL, S3_FORCE_PATH_STYLE: 'true' })
  await until('it archives them', READY_MS_MAX, async () => (await archivedObjects(config)).length > 0)
  t.strictSame(numbersIn(await archivedObjects(config)).map(Number), posts.taken)
  t.match(await program.stop(), { code: 0 })
})

t.test('no output has secrets, at any log level', async t => {
  const AMQP_QUEUE = uniqueQueueName(t)
  const bucket = await testBucket(t)
  const user = `user-${randomUUID()}`
  const password = 'hush/hush pass:word'
  await rabbitmqctl('add_user', user, password)
  t.teardown(() => rabbitmqctl('delete_user', user))
  await rabbitmqctl('set_permissions', user, '.*', '.*', '.*')
  const broker = await openNetwork(t)
  await broker.refuse()
  const program = run(t, [], {
    ...bucket.env,
    AMQP_URL: `amqp://${user}:${encodeURIComponent(password)}@127.0.0.1:${broker.port}`,
    AMQP_QUEUE,
    ARCHIVE_URL: `s3://${bucket.name}`,
    LOG_LEVEL: 'trace',
  })
  const url = await program.listening()
  await until('it waits', READY_MS_MAX, async () => (await waitingFor(url)).length > 0)
  await broker.accept()
  await isWell(url)
  await new Posts(t, url).post(10)
  broker.cut()
  await until('the cut is noticed', READY_MS_MAX, async () => (await waitingFor(url)).length > 0)
  await isWell(url)
  await broker.refuse()
  broker.cut()
  await until('it waits again', READY_MS_MAX, async () => (await waitingFor(url)).length > 0)
  const health = (await waitingFor(url)).join()
  await program.stop()

  for (const secret of [password, encodeURIComponent(password), 'hush', bucket.secret]) {
    t.notOk(program.output.includes(secret), 'not in the output')
    t.notOk(health.includes(secret), 'not in /healthz')
  }
  t.match(program.stderr, new RegExp(`RabbitMQ at 127.0.0.1:${broker.port}, queue ${AMQP_QUEUE}`))
})
