import { test } from 'tap'
import { EventInvalid } from '../../../src/errors.ts'
import { assertEventFields, foreignEvent, stampEvent } from '../../../src/event/event.ts'
import { createRandom, type Random } from '../../helpers/helper.ts'
import {
  compact,
  type Member,
  objectText,
  randomlyEscaped,
  randomMember,
  randomString,
  randomValue,
} from '../../helpers/random-json.ts'

const ROUNDS = 2_000
const NOW = new Date('2026-11-24T13:05:07.123Z')
const STAMP = '2026-11-24T13:05:07.123Z'
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

function stamp(json: string) {
  return stampEvent(Buffer.from(json), JSON.parse(json), NOW)
}

test('accepts valid events', async t => {
  const accepted: Record<string, object> = {
    'with its name alone': { event: 'signed_up' },
    'with the longest name': { event: 'é'.repeat(255) },
    'with every field': {
      event: 'e',
      user_id: 'u',
      userId: 'u',
      anonymousId: 'a',
      messageId: 'm',
      timestamp: STAMP,
      properties: { price: 1.5, tags: [null] },
      context: {},
    },
    'with nobody known': { event: 'e', user_id: null, userId: null, anonymousId: null },
    'with the longest messageId': { event: 'e', messageId: 'é'.repeat(127) },
    'null for unknown values': {
      event: 'e',
      user_id: null,
      messageId: null,
      timestamp: null,
      properties: null,
      context: null,
    },
    'ids and times that are numbers': { event: 'e', user_id: 7, messageId: 8, timestamp: 1764000000 },
    'what PHP makes of empty objects': { event: 'e', properties: [], context: [] },
    'with fields of its own': { event: 'e', type: 'track', deep: [{ er: [[]] }], '': 0 },
  }
  for (const [what, event] of Object.entries(accepted)) {
    t.doesNotThrow(() => assertEventFields(event), what)
  }
})

test('accepts a timestamp in ISO 8601', async t => {
  const accepted = [
    '2026-11-24',
    '2024-02-29',
    '2026-11-24T13:05',
    '2026-11-24T13:05Z',
    '2026-11-24T13:05:07Z',
    '2026-11-24T13:05:07.1Z',
    '2026-11-24T13:05:07,123456789Z',
    '2026-11-24 13:05:07+01',
    '2026-11-24T13:05:07-0330',
    '2026-11-24T13:05:07.123+05:30',
    '2016-12-31T23:59:60Z',
    '2026-11-24T13:05+23:59',
    '2026-11-24T13:05-2359',
    '2026-11-24T13:05+14',
    '2026-11-24T13:05:07-00:00',
    '1764000000',
    '1764000000.5',
    '1764000000000',
  ]
  const refused = [
    '',
    'yesterday',
    '17640000',
    '2026-13-01',
    '2026-02-29',
    '2026-11-31',
    '2026-11-24T24:05:07Z',
    '2026-11-24T13:60:07Z',
    '2026-11-24T13:05:61Z',
    '2026-11-24T13:05:07 UTC',
    'Tue, 24 Nov 2026 13:05:07 GMT',
    '2026-11-24T13:05:07Z\n',
    '2026-11-24T13:05:07+24:00',
    '2026-11-24T13:05:07-24',
    '2026-11-24T13:05:07+99:99',
    '2026-11-24T13:05:07-30',
    '2026-11-24T13:05:07+01:60',
    '2026-11-24T13:05:07-0199',
    '2026-11-24T13:05:07+1:00',
    '2026-11-24+01:00',
  ]
  for (const timestamp of accepted) {
    t.doesNotThrow(() => assertEventFields({ event: 'e', timestamp }), timestamp)
  }
  for (const timestamp of refused) {
    t.throws(() => assertEventFields({ event: 'e', timestamp }), { code: 'FRQ_EVENT_INVALID' }, timestamp)
  }
})

test('an invalid event is refused in one line that names the field', async t => {
  const refused: [unknown, RegExp][] = [
    [{}, /^event is required: a string of 1 to 255 characters\.$/],
    [{ event: '' }, /^event must be a string of 1 to 255 characters\.$/],
    [{ event: 'x'.repeat(256) }, /^event must be /],
    [{ event: 7 }, /^event must be /],
    [{ event: null }, /^event must be /],
    [{ event: ['e'] }, /^event must be /],
    [{ event: 'e', user_id: [7] }, /^user_id must be a string or a number\.$/],
    [{ event: 'e', userId: {} }, /^userId must be a string or a number\.$/],
    [{ event: 'e', anonymousId: true }, /^anonymousId must be a string or a number\.$/],
    [
      { event: 'e', messageId: 'half a \ud83d pair' },
      /^messageId must be a string of 1 to 255 bytes of UTF-8\.$/,
    ],
    [{ event: 'e', messageId: '' }, /^messageId must be a string of 1 to 255 bytes of UTF-8\.$/],
    [{ event: 'e', messageId: true }, /^messageId must be /],
    [{ event: 'e', messageId: 'é'.repeat(128) }, /^messageId must be /],
    [
      { event: 'e', timestamp: {} },
      /^timestamp must be a date and time in ISO 8601, or seconds or milliseconds/,
    ],
    [{ event: 'e', properties: [1] }, /^properties must be an object\.$/],
    [{ event: 'e', properties: 'p' }, /^properties must be an object\.$/],
    [{ event: 'e', context: 'web' }, /^context must be an object\.$/],
    ...[null, 'e', 7, true, [], [{ event: 'e' }]].map((value): [unknown, RegExp] => [
      value,
      /^The event must be a JSON object, like \{"event":"signed_up"\}\.$/,
    ]),
  ]
  for (const [value, message] of refused) {
    t.throws(
      () => assertEventFields(value),
      { constructor: EventInvalid, code: 'FRQ_EVENT_INVALID', statusCode: 400, message },
      JSON.stringify(value),
    )
  }
})

test('an event gets a messageId and its time of receipt', async t => {
  const { messageId, body } = stamp('{"event":"e","n":1.10}')
  t.match(messageId, UUID_V7)
  t.equal(body.toString(), `{"event":"e","n":1.10,"messageId":"${messageId}","receivedAt":"${STAMP}"}`)
})

test("the client's own messageId is kept", async t => {
  const { messageId, body } = stamp('{"messageId":"m\\u002d1","event":"e"}')
  t.equal(messageId, 'm-1')
  t.equal(body.toString(), `{"messageId":"m\\u002d1","event":"e","receivedAt":"${STAMP}"}`)
})

test('each event without a messageId gets a new one, in order of time', async t => {
  const ids = Array.from({ length: 10_000 }, () => stamp('{"event":"e"}').messageId)
  t.equal(new Set(ids).size, ids.length)
  t.same(ids, ids.toSorted())
})

test('a client cannot set receivedAt', async t => {
  const forgeries = [
    '{"receivedAt":"1999-01-01T00:00:00.000Z","event":"e"}',
    '{"event":"e","receivedAt":{"nested":["deeply"]}}',
    '{"event":"e","received\\u0041t":"forged"}',
    '{"event":"e","\\u0072\\u0065\\u0063\\u0065\\u0069\\u0076\\u0065\\u0064\\u0041\\u0074":"forged"}',
    '{"receivedAt":1,"event":"e","receivedAt":2,"\\u0072eceivedAt":3}',
    '{"event":"e","receivedAt" : "forged" }',
  ]
  for (const json of forgeries) {
    const body = stamp(json).body.toString()
    t.equal(JSON.parse(body).receivedAt, STAMP, json)
    t.equal(body.match(/received/g)?.length, 1, 'it is there once')
    t.notMatch(body, 'forged')
  }
})

test('members with similar names are kept', async t => {
  const json =
    '{"event":"e","properties":{"receivedAt":1},"receivedat":2,"receivedAt ":3,"x":"\\"receivedAt\\":4"}'
  const { messageId, body } = stamp(json)
  t.equal(body.toString(), `${json.slice(0, -1)},"messageId":"${messageId}","receivedAt":"${STAMP}"}`)
})

/** An event of random members. The members that stamping edits have random places and escapes. */
function randomEvent(random: Random): Member[] {
  const members = Array.from({ length: random(8) }, () => randomMember(random)).filter(isOther)
  const insert = (member: Member) => members.splice(random(members.length + 1), 0, member)
  insert({ name: randomlyEscaped(random, 'event'), value: '"e"' })
  if (random(2) === 0) insert({ name: randomlyEscaped(random, 'messageId'), value: `"m${random(1e9)}"` })
  for (let forgeries = random(4); forgeries > 0; forgeries--) {
    insert({ name: randomlyEscaped(random, 'receivedAt'), value: randomValue(random) })
  }
  if (random(4) === 0) insert({ name: '"__proto__"', value: randomString(random) })
  return members
}

function isOther({ name }: Member): boolean {
  return !['event', 'messageId', 'receivedAt'].includes(JSON.parse(name))
}

test('a stamped event has the same tokens and our two fields, on one line', async t => {
  const random = createRandom(2)
  const wrong: string[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const members = randomEvent(random)
    const json = objectText(random, members)
    const { messageId, body } = stamp(json)

    const kept = members
      .filter(({ name }) => JSON.parse(name) !== 'receivedAt')
      .map(({ name, value }) => `${name}:${value}`)
    if (!members.some(({ name }) => JSON.parse(name) === 'messageId')) kept.push(`"messageId":"${messageId}"`)
    const text = body.toString()
    const parsed = JSON.parse(text)
    const isRight =
      compact(text) === compact(`{${kept.join(',')},"receivedAt":"${STAMP}"}`) &&
      parsed.receivedAt === STAMP &&
      parsed.messageId === messageId &&
      !/[\r\n]/.test(text)
    if (!isRight) wrong.push(json)
  }
  t.same(wrong, [])
})

test('a message of another program becomes an event like ours', async t => {
  const event = foreignEvent(Buffer.from('{\n "id": 9223372036854775807\n}'), NOW)
  t.match(event?.messageId, UUID_V7)
  t.equal(
    compact(String(event?.body)),
    `{"id":9223372036854775807,"messageId":"${event?.messageId}","receivedAt":"${STAMP}"}`,
  )
})

test('the receivedAt and messageId of another program are kept', async t => {
  const json = '{"messageId":"m","receivedAt":"2020-01-02T03:04:05+01:00","x":1}'
  const event = foreignEvent(Buffer.from(json), NOW)
  t.equal(event?.messageId, 'm')
  t.equal(String(event?.body), '{"messageId":"m","x":1,"receivedAt":"2020-01-02T02:04:05.000Z"}')
})

test('a message of another program gets our fields if its own have wrong types', async t => {
  const json = '{"messageId":7,"receivedAt":"never","messageId":"","x":1}'
  const event = foreignEvent(Buffer.from(json), NOW)
  t.match(event?.messageId, UUID_V7)
  t.equal(String(event?.body), `{"x":1,"messageId":"${event?.messageId}","receivedAt":"${STAMP}"}`)
  t.equal(JSON.parse(String(foreignEvent(Buffer.from('{"receivedAt":5}'), NOW)?.body)).receivedAt, STAMP)
})

test('a message that is not a JSON object is not an event', async t => {
  const messages = [
    '',
    'text',
    'null',
    '7',
    '"s"',
    '[{"event":"e"}]',
    '{"event":',
    '{"a":1}{"b":2}',
    '{"a":1}\0',
  ]
  for (const text of messages) t.equal(foreignEvent(Buffer.from(text), NOW), undefined, JSON.stringify(text))
  t.equal(foreignEvent(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), NOW), undefined, 'not UTF-8')
})

test("another program's event is on one line, and a number as id becomes its digits", async t => {
  for (const json of ['{\n "event":"x",\n "messageId": 42\n}', '{"messageId":42 \r\n,"event":"x"}']) {
    const event = foreignEvent(Buffer.from(json), new Date())
    t.match(event, { messageId: '42' })
    t.notMatch(String(event?.body), /[\r\n]/)
    t.match(JSON.parse(String(event?.body)), { event: 'x', messageId: '42' })
  }
})
