/** The upgrade with RabbitMQ, S3 and roles apart: ingest goes on in the new version while the former one drains. */
import type { Test } from 'tap'
import { testBucket } from '../bin/s3-bucket.ts'
import { range } from '../helpers/helper.ts'
import { brokerUrl, openChannel, uniqueQueueName } from '../helpers/queue-helper.ts'
import { startTcpProxy } from '../services/tcp-proxy.ts'
import { until } from '../services/wait.ts'
import { Site, type Versions } from './site.ts'

const SINGLE_ACTIVE = /AMQP_QUEUE: RabbitMQ has .*frequency 0\.1 declared \S+ with x-single-active-consumer/
const DEPTH_MS_MAX = 60_000

export async function rabbitmqAndS3(t: Test, versions: Versions): Promise<void> {
  for (const ending of ['SIGTERM', 'SIGKILL'] as const)
    await t.test(`RabbitMQ and S3, after ${ending}`, t => upgrade(t, versions, ending))
  await t.test('messages of 0.1 that a shovel has moved', t => moved(t, versions))
}

async function upgrade(t: Test, versions: Versions, ending: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const link = await startTcpProxy({ port: Number(new URL(brokerUrl()).port) })
  t.teardown(() => link.close())
  const url = new URL(brokerUrl())
  url.port = String(link.port)
  const { former, present, site } = await siteOf(t, versions)
  const ingest = { ROLE: 'ingest', DATA_DIR: 'data-ingest', AMQP_URL: url.href, PUBLISH_MS_MAX: '500' }
  const archive = { ROLE: 'archive', BATCH_EVENTS_MAX: '100', BATCH_AGE_MS_MAX: '60000' }

  const archiver = site.serve('former', { ...former, ...archive })
  const front = site.serve('former', { ...former, ...ingest })
  await site.send(front, 250)
  await until('a batch is archived', DEPTH_MS_MAX, () => /Batch archived/.test(archiver.output))
  await link.refuse()
  link.cut()
  await site.send(front, 80)
  await Promise.all([front.kill(ending).ended, archiver.kill(ending).ended])
  await link.accept()

  const early = await site.command('present', ['serve'], { ...former, ...ingest })
  t.match(early, { code: 1, output: SINGLE_ACTIVE }, 'this version refuses the queue')
  t.match(await site.command('present', ['check'], { ...former, ...ingest }), {
    code: 1,
    output: /^FAIL {2}queue on disk .*data-ingest\/spool\/0/m,
  })

  // New ingests take events at once, into a queue and a DATA_DIR of their own.
  const next = site.serve('present', { ...present, ROLE: 'ingest', DATA_DIR: 'data-next' })
  await site.send(next, 60)
  await site.resend(next, range(40))

  const drained = site.serve('former', { ...former, ...ingest })
  const draining = site.serve('former', { ...former, ...archive, BATCH_AGE_MS_MAX: '500' })
  await site.hasArchivedAll('former', [drained, draining])
  for (const server of [drained, draining]) t.equal((await server.stop()).code, 0)
  site.deleteFormerFiles()

  t.match(await site.command('present', ['log', 'build']), { code: 0, output: '330 events' })
  const archivers = [1, 2].map(n =>
    site.serve('present', { ...present, ROLE: 'archive', DATA_DIR: `data-${n}`, BATCH_AGE_MS_MAX: '500' }),
  )
  const old = site.serve('present', { ...present, ...ingest })
  await site.resend(old, range(390))
  await site.send(old, 40)
  await site.hasArchivedAll('present', [next, old, ...archivers])
  for (const server of [next, old, ...archivers]) t.equal((await server.stop()).code, 0)
  await site.isExact()

  const back = await site.command('former', ['serve'], { ...present, ...ingest, DATA_DIR: 'data-back' })
  t.match(back, { code: 1, output: /x-single-active-consumer/ }, '0.1 refuses the queue of this version')
}

/** What docs/upgrading.md says for a DATA_DIR that comes to light when no process of 0.1 archives any more. */
async function moved(t: Test, versions: Versions): Promise<void> {
  const { former, present, site } = await siteOf(t, versions)
  const front = site.serve('former', { ...former, ROLE: 'ingest' })
  await site.send(front, 120)
  t.equal((await front.stop()).code, 0)
  const archiver = site.serve('present', {
    ...present,
    ROLE: 'archive',
    DATA_DIR: 'next',
    BATCH_AGE_MS_MAX: '500',
  })
  const channel = await openChannel(t)
  await archiver.listening()
  await channel.confirmSelect()
  let count = 0
  // basic.get is not allowed on a queue with a single active consumer.
  await channel.basicConsume({ queue: former.AMQP_QUEUE }, async message => {
    const { exchange, redelivered, deliveryTag, consumerTag, body, ...properties } = message
    await channel.basicPublish({ ...properties, routingKey: present.AMQP_QUEUE }, body as Buffer)
    channel.basicAck({ deliveryTag })
    count += Number(message.headers?.['frequency-count'])
  })
  await until('the messages are moved', DEPTH_MS_MAX, () => count === site.sent)
  const next = site.serve('present', { ...present, ROLE: 'ingest', DATA_DIR: 'ingest' })
  await site.resend(next, range(120))
  await site.hasArchivedAll('present', [next, archiver])
  for (const server of [next, archiver]) t.equal((await server.stop()).code, 0)
  await site.isExact()
}

async function siteOf(t: Test, versions: Versions) {
  const bucket = await testBucket(t)
  const env = { ...bucket.env, ARCHIVE_URL: `s3://${bucket.name}/events` }
  const queueOf = () => ({ AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) })
  const site = new Site(t, versions, env)
  return { former: queueOf(), present: queueOf(), site }
}
