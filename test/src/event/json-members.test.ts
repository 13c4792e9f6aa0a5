import { test } from 'tap'
import { elementBounds, valueStart, withMembers, withoutMembers } from '../../../src/event/json-members.ts'
import { createRandom, type Random, range } from '../../helpers/helper.ts'
import {
  compact,
  type Member,
  objectText,
  pick,
  randomlyEscaped,
  randomMember,
  randomValue,
} from '../../helpers/random-json.ts'

const ROUNDS = 2_000

const NAMES = ['receivedAt', 'messageId']

function without(json: string, ...names: string[]): string {
  return withoutMembers(Buffer.from(json), new Set(names)).toString()
}

function withAdded(json: string, members: string): string {
  return withMembers(Buffer.from(json), members).toString()
}

function isNamed({ name }: Member): boolean {
  return NAMES.includes(JSON.parse(name))
}

function randomMembers(random: Random): Member[] {
  return Array.from({ length: random(6) }, () =>
    random(3) === 0
      ? { name: randomlyEscaped(random, pick(random, NAMES)), value: randomValue(random) }
      : randomMember(random),
  )
}

test('members are removed at any position', async t => {
  t.equal(without('{"a":1,"b":2,"c":3}', 'a'), '{"b":2,"c":3}')
  t.equal(without('{"a":1,"b":2,"c":3}', 'b'), '{"a":1,"c":3}')
  t.equal(without('{"a":1,"b":2,"c":3}', 'c'), '{"a":1,"b":2}')
  t.equal(without('{"a":1,"b":2,"c":3}', 'a', 'c'), '{"b":2}')
  t.equal(without('{"a":1}', 'a'), '{}')
  t.equal(without('{}', 'a'), '{}')
  t.equal(without(' { \n } ', 'a'), '{}')
})

test('every member of the name is removed, with any escapes', async t => {
  t.equal(without('{"ab":1,"\\u0061b":2,"x":3,"a\\u0062":4}', 'ab'), '{"x":3}')
})

test('only the top level is edited', async t => {
  const nested = '{"x":{"a":1},"y":[{"a":2}],"z":"{\\"a\\":3}"}'
  t.equal(without(nested, 'a'), nested)
})

test('strings that look like structure are not changed', async t => {
  const tricky = String.raw`{"x":"}","y":"\\","z":"\",\"a\":1","{":"["}`
  t.equal(without(tricky, 'a'), tricky)
  t.equal(without(tricky, 'y', '{'), String.raw`{"x":"}","z":"\",\"a\":1"}`)
})

test('members are added at the end, on one line', async t => {
  t.equal(withAdded('{"b":1}', '"a":2'), '{"b":1,"a":2}')
  t.equal(withAdded('{}', '"a":2'), '{"a":2}')
  t.equal(withAdded('\n{ \t\r\n }\n', '"a":2').trim(), withAdded('{ \t\r\n }', '"a":2'))
  t.equal(withAdded('{\n  "b": "\\n"\r\n}\n', '"a":2'), '{   "b": "\\n"  ,"a":2}')
  t.equal(withAdded('{"b":1}', '"é":"日"'), '{"b":1,"é":"日"}')
})

test('the given bytes are not changed', async t => {
  const json = Buffer.from('{\n"a":1,\n"b":2\n}')
  const before = Buffer.from(json)
  withMembers(json, '"c":3')
  withMembers(withoutMembers(json, new Set(['a'])), '"c":3')
  t.same(json, before)
})

test('nesting that fills the largest body works', async t => {
  const depth = 500_000
  const json = `{"deep":${'['.repeat(depth)}${']'.repeat(depth)},"a":1}`
  t.ok(without(json, 'a') === `${json.slice(0, -7)}}`)
})

test('in any object the other members keep their tokens and their order', async t => {
  const random = createRandom(1)
  const wrong: string[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const members = randomMembers(random)
    const json = objectText(random, members)
    const kept = members.filter(member => !isNamed(member)).map(({ name, value }) => `${name}:${value}`)

    const cut = without(json, ...NAMES)
    const added = withAdded(cut, '"a":1')
    const isRight =
      compact(cut) === compact(`{${kept.join(',')}}`) &&
      compact(added) === compact(`{${[...kept, '"a":1'].join(',')}}`) &&
      !/[\r\n]/.test(added)
    if (!isRight) wrong.push(json)
  }
  t.same(wrong, [])
})

function elements(json: string): string[] {
  const bytes = Buffer.from(json)
  const bounds = elementBounds(bytes, bytes.indexOf('['))
  return range(bounds.length / 2).map(n => bytes.toString('utf8', bounds[2 * n], bounds[2 * n + 1]))
}

test('an array is cut into its elements', async t => {
  t.same(elements('[]'), [])
  t.same(elements(' [ \n ] '), [])
  t.same(elements('[1]'), ['1'])
  t.same(elements('[{"a":[1,2]},"],[",[[]],null]'), ['{"a":[1,2]}', '"],["', '[[]]', 'null'])
  t.same(elements(String.raw`["\"", "\\",{"\\":"]"}]`), [
    String.raw`"\""`,
    String.raw` "\\"`,
    String.raw`{"\\":"]"}`,
  ])
})

test('each element of any array parses to the same value', async t => {
  const random = createRandom(7)
  for (let round = 0; round < ROUNDS; round++) {
    const values = range(random(6)).map(() => randomValue(random))
    const json = `[${values.join(' , ')}]`
    t.same(
      elements(json).map(each => JSON.parse(each)),
      JSON.parse(json),
    )
  }
})

function memberValue(json: string, name: string): string | undefined {
  const bytes = Buffer.from(json)
  const start = valueStart(bytes, name)
  return start === -1 ? undefined : bytes.toString('utf8', start)
}

test('the value of a member is found', async t => {
  t.equal(memberValue('{"batch":[1]}', 'batch'), '[1]}')
  t.equal(memberValue('{ "x" : {"batch":[2]} , "b\\u0061tch" : [3] }', 'batch'), '[3] }')
  t.equal(memberValue('{"batch":[1],"batch":[2]}', 'batch'), '[2]}', 'the last one, as in JSON.parse')
  t.equal(memberValue('{"a":1}', 'batch'), undefined)
  t.equal(memberValue('{ }', 'batch'), undefined)
})
