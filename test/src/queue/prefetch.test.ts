import { test } from 'tap'
import { Prefetch } from '../../../src/queue/rabbitmq/prefetch.ts'
import { range } from '../../helpers/helper.ts'

const EVENTS = 20_000
const MESSAGES_MAX = 65_535

function measured(
  eventsPerMessage: number,
  options = { events: EVENTS, messagesMax: MESSAGES_MAX },
): Prefetch {
  const prefetch = new Prefetch(options)
  for (const _ of range(2_000)) prefetch.delivered(eventsPerMessage)
  prefetch.follow()
  return prefetch
}

test('the prefetch holds about the wanted number of events', t => {
  for (const eventsPerMessage of [1, 3, 10, 100, 256]) {
    const held = measured(eventsPerMessage).messages * eventsPerMessage
    t.ok(held >= EVENTS / 2 && held <= EVENTS * 2, `${held} held, ${eventsPerMessage} per message`)
  }
  const small = measured(1)
  for (const _ of range(2_000)) small.delivered(4_096)
  t.ok(small.follow())
  t.equal(small.messages, 64, 'enough messages to keep the connection busy')
  t.equal(measured(1, { events: EVENTS, messagesMax: 1_000 }).messages, 1_000)
  t.equal(measured(1, { events: EVENTS, messagesMax: 10 }).messages, 10)
  t.end()
})

test('the first prefetch takes few events from other consumers, and is raised when it is exhausted', t => {
  const wanted = 200 * 256
  for (const eventsPerMessage of [1, 10, 100, 256]) {
    const prefetch = new Prefetch({ events: wanted, messagesMax: MESSAGES_MAX })
    const { messages } = prefetch
    t.ok(messages * eventsPerMessage <= wanted)
    if (prefetch.raiseIfShort({ messages, events: messages * eventsPerMessage }))
      t.equal(prefetch.messages, wanted / eventsPerMessage)
    else t.ok(messages * eventsPerMessage > wanted / 2)
  }
  t.end()
})

test('the prefetch does not change before the first delivery, nor for a small difference', t => {
  const prefetch = new Prefetch({ events: EVENTS, messagesMax: MESSAGES_MAX })
  t.notOk(prefetch.follow())
  const before = measured(100)
  for (const _ of range(2_000)) before.delivered(60)
  t.notOk(before.follow())
  for (const _ of range(2_000)) before.delivered(30)
  t.ok(before.follow())
  t.notOk(before.follow())
  t.end()
})

test('a prefetch that is exhausted by too few events is raised at once to the wanted number', t => {
  const prefetch = measured(256)
  const { messages } = prefetch
  t.notOk(prefetch.raiseIfShort({ messages: messages - 1, events: messages - 1 }), 'the prefetch has room')
  t.notOk(prefetch.raiseIfShort({ messages, events: EVENTS }), 'all wanted events are held')
  t.ok(prefetch.raiseIfShort({ messages, events: messages }))
  t.equal(prefetch.messages, EVENTS)
  t.notOk(prefetch.follow(), 'the average does not lower it again')
  const full = measured(1, { events: EVENTS, messagesMax: 1_000 })
  t.notOk(full.raiseIfShort({ messages: 1_000, events: 1_000 }), 'AMQP_PREFETCH is the limit')
  t.end()
})
