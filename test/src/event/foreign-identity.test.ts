/** Identities of events from the broker: of another program, or of another version of frequency. */
import { test } from 'tap'
import { GroupBuilder } from '../../../src/event/event-group.ts'
import { idDigest } from '../../../src/event/message-id.ts'
import { messageProperties } from '../../../src/queue/rabbitmq/rabbitmq-message.ts'
import { eventOf } from '../../helpers/helper.ts'
import { brokerUrl, openChannel, uniqueQueueName } from '../../helpers/queue-helper.ts'
import { parseLines, serveApp } from '../../plugins/served-app.ts'

const STAMP = '2026-11-24T13:05:07.123Z'

test("the source of another program's event is its member `source`", async t => {
  const name = uniqueQueueName(t)
  const { archivedLines } = await serveApp(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: name })
  const channel = await openChannel(t)
  await channel.confirmSelect()
  const lines = [
    { event: 'none', messageId: 'order-1001' },
    { event: 'web', messageId: 'order-1001', source: 'web' },
    { event: 'backend', messageId: 'order-1001', source: 'backend' },
    { event: 'again', messageId: 'order-1001', source: 'web' },
    { event: 'again', messageId: 'order-1001', source: ['web'] },
  ].map(event => JSON.stringify(event))
  await channel.basicPublish({ routingKey: name }, Buffer.from(lines.join('\n')))
  for (const line of lines) await channel.basicPublish({ routingKey: name }, Buffer.from(line))
  t.same(
    parseLines(await archivedLines()).map(({ event }) => event),
    ['none', 'web', 'backend'],
  )
})

test('an event of a source has the same identity by HTTP and from another program', async t => {
  const name = uniqueQueueName(t)
  const settings = { AMQP_URL: brokerUrl(), AMQP_QUEUE: name, WRITE_KEYS: 'backend=server-key' }
  const { url, archivedLines } = await serveApp(t, settings)
  const headers = { 'x-write-key': 'server-key', 'content-type': 'application/json' }
  const body = '{"event":"order_paid","messageId":"order-1001"}'
  t.equal((await fetch(`${url}/api/t`, { method: 'POST', headers, body })).status, 200)
  const channel = await openChannel(t)
  await channel.confirmSelect()
  const foreign = '{"source":"backend","event":"again","messageId":"order-1001"}'
  await channel.basicPublish({ routingKey: name }, Buffer.from(foreign))
  // Either may be first: until the broker is connected, events by HTTP wait on disk.
  const archived = parseLines(await archivedLines())
  t.same(
    archived.map(({ source, messageId }) => ({ source, messageId })),
    [{ source: 'backend', messageId: 'order-1001' }],
  )
})

test('a message of another version keeps its stamped events, and gets identities of this version', async t => {
  const name = uniqueQueueName(t)
  const { archivedLines } = await serveApp(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: name })
  const channel = await openChannel(t)
  await channel.confirmSelect()
  const group = new GroupBuilder()
  const lines = ['web', 'backend', 'web'].map(
    source => `{"event":"e","messageId":"order-1001","source":"${source}", "n":1.10,"receivedAt":"${STAMP}"}`,
  )
  for (const line of lines) group.add({ messageId: 'order-1001', body: Buffer.from(line) })
  const old = { ...group.build(), ids: Buffer.concat(lines.map(() => idDigest('order-1001'))) }
  const { headers, ...properties } = messageProperties(old)
  for (const version of [undefined, 1, 3]) {
    const { 'frequency-ids-version': _, ...others } = headers as Record<string, unknown>
    const own = { ...others, ...(version !== undefined && { 'frequency-ids-version': version }) }
    await channel.basicPublish({ routingKey: name, ...properties, headers: own }, old.lines)
  }
  t.same(await archivedLines(), lines.slice(0, 2), 'byte for byte, each once')
})

test('the identities of a message of this version are not computed again', async t => {
  const name = uniqueQueueName(t)
  const { app, archivedLines } = await serveApp(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: name })
  const channel = await openChannel(t)
  await channel.confirmSelect()
  const group = new GroupBuilder()
  const [first, second] = [eventOf({ messageId: 'a' }), eventOf({ messageId: 'b' })]
  group.add(first)
  const { headers, ...properties } = messageProperties(group.build())
  await app.queue.publish(first)
  // It has the identity of the first event. If it were parsed, there would be two events.
  await channel.basicPublish({ routingKey: name, ...properties, headers: headers ?? {} }, second.body)
  t.equal((await archivedLines()).length, 1)
})
