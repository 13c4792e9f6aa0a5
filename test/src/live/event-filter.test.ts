import t from 'tap'
import { FilterInvalid } from '../../../src/errors.ts'
import { eventName } from '../../../src/event/event-name.ts'
import { parseFilter } from '../../../src/live/event-filter.ts'

/** Whether the filter finds the event, also by its needle, if it has one. */
function finds(filter: string, json: string): boolean {
  const parsed = parseFilter(filter)
  const { needle } = parsed ?? {}
  return (
    (needle === undefined || Buffer.from(json).includes(needle)) && parsed?.matches(JSON.parse(json)) === true
  )
}

const EVENT =
  '{"event":"Signed_Up","user_id":"u-7","n":42,"properties":{"plan":"pro","team":{"size":3}},"x":null}'

t.test('a text without = is a part of the name, in any case', async t => {
  for (const filter of ['signed', 'SIGNED_UP', ' d_u ']) t.ok(finds(filter, EVENT), filter)
  for (const filter of ['pro', 'signed up', 'signed_up_']) t.notOk(finds(filter, EVENT), filter)
})

t.test("an event without the member `event` has the name of its type, as Segment's calls", async t => {
  const calls: [json: string, name: string][] = [
    ['{"event":"Signed Up","type":"track","name":"x"}', 'Signed Up'],
    ['{"type":"page","name":"Home"}', 'page Home'],
    ['{"type":"page","name":null}', 'page'],
    ['{"type":"identify","traits":{"name":"Ann"}}', 'identify'],
    ['{"event":"","type":"screen","name":7}', 'screen 7'],
    ['{"event":404}', '404'],
    ['{"messageId":"m"}', '(no name)'],
  ]
  for (const [json, name] of calls) {
    t.equal(eventName(JSON.parse(json)), name)
    t.ok(finds(name.toUpperCase(), json), name)
  }
  t.notOk(finds('undefined', '{"type":"identify"}'))
})

t.test('field=value matches this field at any position', async t => {
  const found = [
    'event=Signed_Up',
    'user_id=u-7',
    'n=42',
    'properties.plan=pro',
    'properties.team.size=3',
    'x=null',
  ]
  for (const filter of [...found, ' properties.plan = pro ']) t.ok(finds(filter, EVENT), filter)
  const others = [
    'event=signed_up',
    'user_id=u',
    'n=4',
    'plan=pro',
    'properties.plan.x=pro',
    'properties=pro',
    'y=null',
  ]
  for (const filter of [...others, 'y=undefined', 'toString=1', '__proto__.x=1'])
    t.notOk(finds(filter, EVENT), filter)
})

t.test('a value is found in any spelling of JSON', async t => {
  t.ok(finds('n=100', '{"event":"a","n":1e2}'))
  t.ok(finds('n=1.5', '{"event":"a","n":1.50}'))
  t.ok(finds('url=https://a/b', '{"event":"a","url":"https:\\/\\/a\\/b"}'))
  t.ok(finds('city=Zürich', '{"event":"a","city":"Z\\u00fcrich"}'))
  t.ok(finds('b=true', '{"event":"a","b":true}'))
  t.ok(finds('t=a=b', '{"event":"a","t":"a=b"}'))
  t.ok(finds('t=', '{"event":"a","t":""}'))
})

t.test('a value without escapes is first searched in the bytes', async t => {
  t.equal(parseFilter('properties.plan=pro')?.needle?.toString(), 'pro')
  for (const filter of ['n=42', 'url=a/b', 'city=Zürich', 'pro'])
    t.equal(parseFilter(filter)?.needle, undefined, filter)
})

t.test('an empty filter gives undefined, and one that cannot match is refused', async t => {
  t.equal(parseFilter('  '), undefined)
  for (const filter of ['=a', 'a..b=c', '.a=b', 'a'.repeat(501)])
    t.throws(() => parseFilter(filter), FilterInvalid)
})
