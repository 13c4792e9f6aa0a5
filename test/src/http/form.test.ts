import { test } from 'tap'
import { BodyInvalid } from '../../../src/errors.ts'
import { parseForm } from '../../../src/http/form.ts'
import { createRandom, range } from '../../helpers/helper.ts'
import { pick } from '../../helpers/random-json.ts'

const ROUNDS = 1_000
const CHARACTERS = ['a', 'B', '7', ' ', '+', '%', '&', '=', ';', '"', '.', '\n', 'é', '日', '\u{1f600}']

test('every value is a string', async t => {
  t.same(parseForm('event=sent_a_message&user_id=007&n=1.10&yes=true&none=null'), {
    event: 'sent_a_message',
    user_id: '007',
    n: '1.10',
    yes: 'true',
    none: 'null',
  })
})

test('a form without fields is empty', async t => {
  t.same(parseForm(''), {})
})

test('a name without a value has an empty value', async t => {
  t.same(parseForm('event=e&flag&other='), { event: 'e', flag: '', other: '' })
})

test('a repeated name makes an array, in order', async t => {
  t.same(parseForm('tag=b&tag=a&tag=b'), { tag: ['b', 'a', 'b'] })
  t.same(parseForm('tags[]=one'), { tags: ['one'] })
})

test('brackets nest, escaped or not', async t => {
  const wanted = { properties: { plan: 'pro', seats: { max: '5' } } }
  t.same(parseForm('properties[plan]=pro&properties[seats][max]=5'), wanted)
  t.same(parseForm('properties%5Bplan%5D=pro&properties%5bseats%5d%5bmax%5d=5'), wanted)
})

test('names that objects inherit are normal names', async t => {
  t.same(parseForm('hasOwnProperty=1&toString=2&constructor=3&a[valueOf]=4'), {
    hasOwnProperty: '1',
    toString: '2',
    constructor: '3',
    a: { valueOf: '4' },
  })
})

test('names that would poison a prototype are refused, and named', async t => {
  const names = [
    '__proto__',
    '__proto__[polluted]',
    'a[__proto__]',
    'a[b][__proto__][c]',
    'constructor[prototype]',
    'constructor[prototype][polluted]',
    'a[constructor][prototype]',
  ]
  for (const name of names) {
    for (const spelling of [name, encodeURIComponent(name), name.replaceAll('o', '%6f')]) {
      t.throws(
        () => parseForm(`event=e&${spelling}=1`),
        {
          constructor: BodyInvalid,
          statusCode: 400,
          message: `The field name ${JSON.stringify(name)} is not allowed.`,
        },
        spelling,
      )
    }
  }
  t.equal(({} as { polluted?: unknown }).polluted, undefined)
})

test('a form above the limits is refused', async t => {
  const fields = (count: number) =>
    range(count)
      .map(i => `f${i}=1`)
      .join('&')
  const repeated = (count: number) => Array(count).fill('a=1').join('&')
  const nested = (depth: number) => `a${'[b]'.repeat(depth)}=1`
  t.equal(Object.keys(parseForm(fields(1000))).length, 1000)
  t.equal((parseForm(repeated(1000)).a as unknown[]).length, 1000)
  t.doesNotThrow(() => parseForm(nested(20)))
  for (const form of [fields(1001), repeated(1001), nested(21)]) {
    t.throws(() => parseForm(form), {
      code: 'FRQ_BODY_INVALID',
      message: 'The form has more than 1000 fields, or nests deeper than 20.',
    })
  }
})

test('indexes from 0 make an array, in any order; others are names', async t => {
  t.same(parseForm('a[1]=y&a[0]=x&a[2][b]=z'), { a: ['x', 'y', { b: 'z' }] })
  t.same(parseForm('a[0][0]=x&a[0][1]=y'), { a: [['x', 'y']] })
  t.same(parseForm('a[]=x&a[]=y&b[0]=1&b[0]=2'), { a: ['x', 'y'], b: [['1', '2']] })
  t.same(parseForm('properties[2023]=x&properties[2024]=y'), { properties: { 2023: 'x', 2024: 'y' } })
  t.same(parseForm('a[5]=x&b[1]=y&c[0]=z&c[d]=1'), { a: { 5: 'x' }, b: { 1: 'y' }, c: { 0: 'z', d: '1' } })
  t.same(parseForm('a[4294967294]=x&0=y'), { a: { 4294967294: 'x' }, 0: 'y' })
  const indexes = range(1_000).map(i => `a[${i}]=${i}`)
  t.same(parseForm(indexes.join('&')), { a: range(1_000).map(String) })
})

test('a percent sign that encodes nothing is kept, and the rest is decoded', async t => {
  t.same(parseForm('event=100%&b=%zz&note=100%+of+it%21&%=%41%4'), {
    event: '100%',
    b: '%zz',
    note: '100% of it!',
    '%': 'A%4',
  })
})

test('encoded bytes that are not UTF-8 are refused', async t => {
  for (const form of ['c=%e9', 'city=caf%E9+au%20lait', 'event=e&%ff=1', 'a=%ed%a0%80'])
    t.throws(() => parseForm(form), { code: 'FRQ_BODY_INVALID', message: /UTF-8/ }, form)
})

test('a field without a name is kept', async t => {
  t.same(parseForm('event=e&=kept'), { event: 'e', '': 'kept' })
  t.same(parseForm('=a&=b&&'), { '': ['a', 'b'] })
})

test('a name ends at the first equals sign, whatever the value is', async t => {
  t.same(parseForm('event=e&note=[1]=2&a[b]=c=d&x=%5By%5D=z'), {
    event: 'e',
    note: '[1]=2',
    a: { b: 'c=d' },
    x: '[y]=z',
  })
})

test('an empty time or id counts as missing', async t => {
  t.same(parseForm('event=e&timestamp=&messageId=&sentAt=&user_id='), { event: 'e', user_id: '' })
})

test('text that a browser has encoded is decoded to the same text', async t => {
  const random = createRandom(3)
  const text = () => Array.from({ length: 1 + random(8) }, () => pick(random, CHARACTERS)).join('')
  const wrong: string[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const fields = Object.fromEntries(range(random(5)).map(() => [text(), text()]))
    const encoded = new URLSearchParams(fields).toString()
    const isRight = JSON.stringify(parseForm(encoded)) === JSON.stringify(fields)
    if (!isRight) wrong.push(encoded)
  }
  t.same(wrong, [])
})

test('fields above the limit take little time', async t => {
  const startedAt = performance.now()
  t.throws(() => parseForm('a&'.repeat(8_000_000)), { code: 'FRQ_BODY_INVALID', message: /1000 fields/ })
  t.ok(performance.now() - startedAt < 2_000)
})
