/** The identity of an event: the same at ingest and from its archived bytes, and never that of another event. */
import { createHash, randomUUID } from 'node:crypto'
import { test } from 'tap'
import { parseWriteKeys } from '../../../src/config/write-key-list.ts'
import {
  type Event,
  type EventFields,
  foreignEvent,
  isStamped,
  stampEvent,
} from '../../../src/event/event.ts'
import { GroupBuilder } from '../../../src/event/event-group.ts'
import { DIGEST_VERSION, idDigest, identityOf, mintMessageId } from '../../../src/event/message-id.ts'
import { NameSet } from '../../../src/event/name-set.ts'
import type { Source } from '../../../src/event/source.ts'
import { contextIp } from '../../../src/http/client-ip.ts'
import { readJson } from '../../../src/http/read-body.ts'
import { groupOfMessage, messageProperties } from '../../../src/queue/rabbitmq/rabbitmq-message.ts'
import type { CallFields } from '../../../src/segment/call.ts'
import { CallStamper } from '../../../src/segment/call-event.ts'
import { createRandom, eventOf, type Random } from '../../helpers/helper.ts'
import {
  type Member,
  objectText,
  pick,
  randomlyEscaped,
  randomMember,
  randomString,
  randomValue,
} from '../../helpers/random-json.ts'

const ROUNDS = 3_000
const NOW = new Date('2026-11-24T13:05:07.123Z')
const UUID = '01a20c50-e03a-77f7-a7ab-9ed5fad845a3'
const KEYS = parseWriteKeys('web:browser=b,backend=s,backend=t', 'WRITE_KEYS')
const SOURCES = [undefined, KEYS.get('b') as Source, KEYS.get('s') as Source]

const hexOf = (source: unknown, messageId: unknown) => identityOf({ source, messageId })?.toString('hex')
const hashOf = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 32)
/** The digits with the four bits of a UUID's version set to 15. */
const marked = (hex: string) => `${hex.slice(0, 12)}f${hex.slice(13)}`
const asUuid = (hex: string) => hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')

/** The identities in the form of a message's header. */
function idsOf(events: readonly Event[]): Buffer {
  const group = new GroupBuilder()
  for (const event of events) group.add(event)
  return group.build().ids
}

test('an identity has the format of its version', async t => {
  t.equal(DIGEST_VERSION, 2, 'another format needs another version')
  t.equal(hexOf(undefined, UUID), UUID.replaceAll('-', ''))
  t.equal(hexOf(undefined, 'order-1001'), hashOf('order-1001'))
  t.equal(hexOf(undefined, UUID.toUpperCase()), hashOf(UUID.toUpperCase()))
  t.equal(hexOf('backend', 'order-1001'), marked(hashOf('\u00007:backendorder-1001')))
  t.equal(hexOf('backend', UUID), marked(hashOf(`\u00007:backend${UUID}`)))
  t.equal(hexOf('läden', 'bestellung-ß'), marked(hashOf('\u00005:lädenbestellung-ß')))
  t.equal(hexOf('', 'a'), marked(hashOf('\u00000:a')), 'an empty source counts as a source')
  t.equal(hexOf('a\ud800', 'b'), marked(hashOf('\u0000["a\\ud800","b"]')))
  t.equal(hexOf(undefined, '\u0000a'), hashOf('\u0000["\\u0000a"]'))
})

test('a text that differs from a UUID in one character is not read as a UUID', async t => {
  const replacements = ['A', 'F', 'g', '/', ':', '@', '`', '-', ' ', '\u007f', '\u00e1', '\u0430', '\uff10']
  const falselyTaken: string[] = []
  for (let at = 0; at < UUID.length; at++) {
    for (const character of replacements) {
      const text = UUID.slice(0, at) + character + UUID.slice(at + 1)
      if (text !== UUID && hexOf(undefined, text) !== hashOf(text)) falselyTaken.push(text)
    }
    const digitForDash = `${UUID.slice(0, at)}a${UUID.slice(at + 1)}`
    if (UUID[at] === '-' && hexOf(undefined, digitForDash) !== hashOf(digitForDash))
      falselyTaken.push(digitForDash)
  }
  t.strictSame(falselyTaken, [])
  t.equal(hexOf(undefined, asUuid('f'.repeat(32))), hashOf(asUuid('f'.repeat(32))), 'the Max UUID')
})

test('a source that is not a string is ignored, and an event without an id has no identity', async t => {
  for (const source of [undefined, null, 7, true, ['backend'], { name: 'backend' }])
    t.equal(hexOf(source, 'order-1001'), hexOf(undefined, 'order-1001'), JSON.stringify(source))
  for (const messageId of [undefined, null, 7, '', ['a'], {}]) t.equal(hexOf('backend', messageId), undefined)
})

test('events that differ in source or id have different identities', async t => {
  const minted = mintMessageId(Date.now())
  const texts = ['', 'a', 'b', 'ab', 'ba', 'aa', '1', ':', '1:a', '0:', 'ä', 'a\u0308', '\ufffd', '\ud800']
  texts.push('\udc00', '\ud83d', '\ude00', '\u{1f600}', '\0', '\0a', '\u00001:a', '\u00001:ab', '\0["a"]')
  texts.push('\0["a","b"]', '\0["\\ud800"]', '["a","b"]', '"', '\\', UUID, UUID.toUpperCase(), minted)
  texts.push('ffffffff-ffff-ffff-ffff-ffffffffffff', '00000000-0000-0000-0000-000000000000')
  const seen = new Map<string, string>()
  const wrong: string[] = []
  for (const source of [undefined, ...texts]) {
    for (const messageId of texts.filter(text => text !== '')) {
      const pair = JSON.stringify([source, messageId])
      const identity = hexOf(source, messageId) as string
      const other = seen.get(identity)
      if (other !== undefined) wrong.push(`${other} ${pair}`)
      seen.set(identity, pair)
    }
  }
  t.same(wrong, [])
})

test('no UUID equals the identity of an event with a source', async t => {
  for (const source of ['backend', 'web', 'läden']) {
    for (const messageId of ['order-1001', UUID, randomUUID()]) {
      const wanted = hexOf(source, messageId) as string
      const chosen = asUuid(wanted)
      t.not(hexOf(undefined, chosen), wanted)
      t.not(hexOf('other', chosen), wanted)
    }
  }
})

/** Members that look like `source`. */
function randomEvent(random: Random): Member[] {
  const members: Member[] = [
    { name: '"event"', value: '"e"' },
    { name: '"userId"', value: '"u"' },
  ]
  for (let n = random(4); n > 0; n--) {
    const value = () => (random(2) === 0 ? randomString(random) : randomValue(random))
    members.push({ name: randomlyEscaped(random, 'source'), value: value() })
  }
  if (random(2) === 0) members.push({ name: '"context"', value: '{"source":"nested","ip":"192.0.2.7"}' })
  if (random(4) === 0) members.push({ name: randomlyEscaped(random, 'channel'), value: '"browser"' })
  if (random(4) === 0) members.push({ name: '"Source"', value: '"other"' })
  if (random(4) === 0) members.push({ name: '"receivedAt"', value: '"2020-01-02T03:04:05.000Z"' })
  const ids = [UUID, UUID.toUpperCase(), 'order-1001', 'bestellung-ß', '\u{1f600}', 'ordre "n"', '\u0000n']
  for (let n = random(3); n > 0; n--) {
    members.push({ name: randomlyEscaped(random, 'messageId'), value: JSON.stringify(pick(random, ids)) })
  }
  const others = Array.from({ length: random(4) }, () => randomMember(random))
  return [...members, ...others.filter(({ name }) => !['', '__proto__'].includes(JSON.parse(name)))]
    .map(member => ({ member, at: random(1_000) }))
    .sort((a, b) => a.at - b.at)
    .map(({ member }) => member)
}

/** Makes an event as each of the routes does, and as the archiver does for another program's event. */
function eventsOf(json: Buffer, source: Source | undefined): Event[] {
  const fields = readJson(json).value as EventFields & CallFields
  const sender = { policy: 'truncate', source, address: '192.0.2.1' } as const
  const ownKey = source ?? { without: new NameSet(['writeKey']) }
  return [
    stampEvent(json, fields, NOW, source, contextIp(fields, 'truncate', source)),
    stampEvent(json, fields, NOW, ownKey),
    new CallStamper({ receivedAt: NOW, sender }).event('track', json, fields),
    new CallStamper({ receivedAt: NOW, sender, common: { sentAt: { value: 1, json: '1' } } }).event(
      'track',
      json,
      fields,
    ),
  ]
}

test('the identity at ingest equals that of the archived bytes, with any source in them', async t => {
  const random = createRandom(11)
  const wrong: string[] = []
  let withSource = 0
  for (let round = 0; round < ROUNDS; round++) {
    const json = Buffer.from(objectText(random, randomEvent(random)))
    const source = pick(random, SOURCES)
    const foreign = foreignEvent(json, NOW) as Event
    for (const event of [...eventsOf(json, source), foreign]) {
      const archived = JSON.parse(event.body.toString())
      if (typeof archived.source === 'string') withSource++
      const isNamed = event === foreign || source === undefined || archived.source === source.name
      if (!isNamed || !identityOf(archived)?.equals(idsOf([event]))) wrong.push(event.body.toString())
    }
  }
  t.same(wrong, [])
  t.ok(withSource > ROUNDS, 'most have a source')
})

test('keys of one source give the same identities, keys of two sources different ones', async t => {
  const identify = (key: string) => {
    const json = Buffer.from('{"event":"order_paid","messageId":"order-1001","source":"backend"}')
    return idsOf(eventsOf(json, KEYS.get(key)).slice(0, 1)).toString('hex')
  }
  t.equal(identify('s'), identify('t'))
  t.not(identify('s'), identify('b'))
  t.equal(
    identify('s'),
    hexOf('backend', 'order-1001'),
    'the same without keys, if the event names the source',
  )
})

/** The message with these headers instead of its own. */
function messageOf(events: readonly Event[], headers: Record<string, unknown>) {
  const builder = new GroupBuilder()
  for (const event of events) builder.add(event)
  const group = builder.build()
  const properties = messageProperties(group)
  const message = { type: properties.type as string, headers: { ...properties.headers, ...headers } }
  return { group, read: () => groupOfMessage(message, group.lines) }
}

test('identities of another version are computed again, and the rest of the message is used', async t => {
  const events = ['web', undefined, 'backend'].map((source, n) =>
    eventOf({ event: 'e', messageId: 'm', source, n }),
  )
  const own = messageOf(events, {})
  t.same(own.read(), own.group)
  const old = Buffer.concat(events.map(({ messageId }) => idDigest(messageId))).toString('base64')
  for (const version of [undefined, 1, 3, '2', null]) {
    const { group, read } = messageOf(events, { 'frequency-ids': old, 'frequency-ids-version': version })
    t.same(read(), group, String(version))
    t.ok(isStamped(read()?.lines as Buffer))
  }
  const without = messageOf(events, { 'frequency-ids': undefined, 'frequency-ids-version': 1 })
  t.same(without.read(), without.group)
})

test('a message of another version with a wrong count, or with lines that are not events, is not a group', async t => {
  const event = eventOf({ event: 'e' })
  for (const count of [0, 2, 2 ** 31, 2 ** 53 - 1, -1, 1.5, '1', undefined]) {
    const { read } = messageOf([event], { 'frequency-count': count, 'frequency-ids-version': 1 })
    t.equal(read(), undefined, String(count))
  }
  const bodies = ['[1,"2026-11-24T13:05:07.123Z"}', '{"receivedAt":"2026-11-24T13:05:07.123Z"}']
  for (const body of bodies) {
    const { read } = messageOf([{ messageId: 'm', body: Buffer.from(body) }], { 'frequency-ids-version': 1 })
    t.equal(read(), undefined, body)
  }
})
