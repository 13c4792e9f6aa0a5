import { test } from 'tap'
import { Prefetch } from '../../../src/queue/rabbitmq/prefetch.ts'
import { range } from '../../helpers/helper.ts'

const EVENTS = 20_000
const MESSAGES_MAX = 65_535

function measured(eventsAMessage: number, options = { events: EVENTS, messagesMax: MESSAGES_MAX }): Prefetch {
  const prefetch = new Prefetch(options)
  for (const _ of range(2_000)) prefetch.delivered(eventsAMessage)
  prefetch.follow()
  return prefetch
}

test('the prefetch holds about the wanted number of events', t => {
  for (const eventsAMessage of [1, 3, 10, 100, 256]) {
    const held = measured(eventsAMessage).messages * eventsAMessage
    t.ok(held >= EVENTS / 2 && held <= EVENTS * 2, `${held} of ${eventsAMessage} a message`)
  }
  const small = measured(1)
  for (const _ of range(2_000)) small.delivered(4_096)
  t.ok(small.follow())
  t.equal(small.messages, 64, 'a connection is kept busy')
  t.equal(measured(1, { events: EVENTS, messagesMax: 1_000 }).messages, 1_000)
  t.equal(measured(1, { events: EVENTS, messagesMax: 10 }).messages, 10)
  t.end()
})

test('what was not measured takes little from other consumers, and is raised once that is used up', t => {
  const wanted = 200 * 256
  for (const eventsAMessage of [1, 10, 100, 256]) {
    const prefetch = new Prefetch({ events: wanted, messagesMax: MESSAGES_MAX })
    const { messages } = prefetch
    t.ok(messages * eventsAMessage <= wanted)
    if (prefetch.raiseIfShort({ messages, events: messages * eventsAMessage }))
      t.equal(prefetch.messages, wanted / eventsAMessage)
    else t.ok(messages * eventsAMessage > wanted / 2)
  }
  t.end()
})

test('what was not measured changes nothing, and neither does a small difference', t => {
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

test('a prefetch that is used up by too few events is raised at once, to where it has enough', t => {
  const prefetch = measured(256)
  const { messages } = prefetch
  t.notOk(prefetch.raiseIfShort({ messages: messages - 1, events: messages - 1 }), 'there is room')
  t.notOk(prefetch.raiseIfShort({ messages, events: EVENTS }), 'all is held')
  t.ok(prefetch.raiseIfShort({ messages, events: messages }))
  t.equal(prefetch.messages, EVENTS)
  t.notOk(prefetch.follow(), 'and the average does not lower it again')
  const full = measured(1, { events: EVENTS, messagesMax: 1_000 })
  t.notOk(full.raiseIfShort({ messages: 1_000, events: 1_000 }), 'AMQP_PREFETCH is the end')
  t.end()
})
