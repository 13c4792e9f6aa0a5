/** Events that are hard to keep, as JSON text without a `messageId`. */
import { range } from './helper.ts'

const NUMBERS = [
  '0',
  '-0',
  '0.0',
  '1.50',
  '1E5',
  '1e+05',
  '-1.50e-7',
  '9007199254740993',
  '-9223372036854775809',
  '18446744073709551616',
  '0.1234567890123456789012345678901234567890',
  '1e400',
  '-1e-400',
  '1e999999',
  '7'.repeat(400),
  `0.${'1'.repeat(400)}`,
]
const NAMES = [
  '',
  ' ',
  '$',
  '.',
  'a.b',
  '[0]',
  '"',
  "'",
  '\\',
  '`',
  '\u0000',
  '\u001f',
  '\ufeff',
  'constructor',
  'toString',
]
const TEXTS = [
  '',
  ' ',
  '\\',
  '\\\\',
  '"',
  "''",
  ',',
  ';',
  '\n',
  '\r\n',
  '\t',
  '\u0000',
  '\u001f',
  '\u007f',
  '\u2028',
  'null',
  '{}',
  '-0',
  '=1+1',
  '日本',
  'e\u0301',
  '\ufffd',
  'a\ufeff',
]
const TIMES = [
  '0',
  '-1',
  '1795811640',
  '1795811640.5',
  '1795811640123',
  '"1795811640"',
  '253402300800000',
  '-62135596800001',
  '-62167219200001',
  '8640000000000000',
  '-8640000000000000',
  '1e18',
  '1e300',
]
/** Shallower and deeper than what is walked fast (250), and than what DuckDB's JSON gets (500). */
const DEPTHS = [249, 250, 251, 300, 499, 500, 501, 200_000]
const LARGE_CHARS = 900_000

/** Sent to a server, which adds the rest. */
export function hardEvents(): string[] {
  return [
    ...numbers(),
    ...texts(),
    ...planes(),
    ...deep(),
    ...empty(),
    ...names(),
    ...spellings(),
    ...large(),
  ]
}

/** What a server refuses, or writes otherwise itself, and what other programs have archived nevertheless. */
export function archivedEvents(): string[] {
  const at = '"receivedAt":"2026-11-24T13:05:07.123Z"'
  return [
    `"event":"a","__proto__":{"x":1},${at}`,
    `"event":"a","properties":{"__proto__":{"x":1},"constructor":{"prototype":1}},${at}`,
    `"event":"a","properties":{"__proto__":1,"__proto__":2,"\\u005f_proto__":3},${at}`,
    `"event":"a","user_id":1e400,"userId":-0,${at}`,
    `"event":"a","user_id":{"a":[1.50]},"type":7,"channel":true,"source":[],${at}`,
    `"event":"\\ud800","user_id":"\\udc00",${at}`,
    `"event":"a","properties":"text","context":1.50,"traits":-0,${at}`,
    `"properties":{}`,
    `"event":"a","receivedAt":"yesterday"`,
    `"event":"a","receivedAt":1795811640123`,
    `"event":"a","receivedAt":null`,
    `"event":"a","receivedAt":"2026-11-24T15:05:07.123+02:00"`,
    `"event":"a","receivedAt":"2026-11-24T13:05:07.123456Z"`,
    `"event":"a","receivedAt":"0001-01-01T00:00:00.000Z"`,
    `"event":"a","receivedAt":"1969-12-31T23:59:59.999Z"`,
    `"event":"a","receivedAt":"+010000-01-01T00:00:00.000Z"`,
    `"event":"a","receivedAt":"-000001-01-01T00:00:00.000Z"`,
    `"event":"a","receivedAt":"9999-12-31T23:59:59.999Z"`,
    `"event":"a",${at},"receivedAt":"2026-11-24T14:00:00.000Z"`,
  ].map(members => `{${members}}`)
}

function numbers(): string[] {
  const members = NUMBERS.map((number, n) => `"n${n}":${number}`).join(',')
  return [
    `{"event":"numbers","properties":{${members},"list":[${NUMBERS.join(',')}]},${members}}`,
    `{"event":"numbers","context":{${members}},"traits":[${NUMBERS.join(', ')}]}`,
    ...NUMBERS.slice(0, 10).map(number => `{"event":"numbers","user_id":${number},"anonymousId":${number}}`),
    ...TIMES.map(at => `{"event":"numbers","timestamp":${at}}`),
  ]
}

function texts(): string[] {
  const plain = TEXTS.map(text =>
    JSON.stringify({ event: `t${text}`, user_id: text, channel: text, properties: { text }, text }),
  )
  const escaped = TEXTS.map(
    text => `{"event":"texts","source":"${escapes(`s${text}`)}","properties":{"a":"${escapes(text)}"}}`,
  )
  const mark = JSON.stringify({ event: '\ufeffmark', user_id: '\ufeff', properties: { a: '\ufeff' } })
  return [...plain, ...escaped, mark]
}

/** Every code point that is a character or a non-character; surrogates alone; and pairs that are escaped. */
function planes(): string[] {
  const whole = range(17).flatMap(plane => {
    const first = plane * 0x10000
    const points = range(0x10000)
      .map(n => first + n)
      .filter(point => point < 0xd800 || point > 0xdfff)
    const edge = String.fromCodePoint(...points.slice(0, 20), ...points.slice(-20))
    const all = points.map(point => String.fromCodePoint(point)).join('')
    return [
      JSON.stringify({ event: `plane ${edge}`, user_id: edge, properties: { all, [edge]: edge } }),
      `{"event":"planes","anonymous_id":"${escapes(edge)}","traits":{"a":"${escapes(edge)}"}}`,
    ]
  })
  return [
    ...whole,
    '{"event":"planes","user_id":"\\ud800","properties":{"a":"\\udc00\\ud800","\\udbff":1,"b":"\\uD83D\\uDE00"}}',
  ]
}

function deep(): string[] {
  return DEPTHS.flatMap(depth => [
    `{"event":"deep","properties":{"a":${'['.repeat(depth)}${']'.repeat(depth)}}}`,
    `{"event":"deep","a":${'{"":'.repeat(depth)}1.50${'}'.repeat(depth)}}`,
  ])
}

function empty(): string[] {
  return [
    '{"event":"empty","user_id":null,"userId":null,"anonymousId":null,"properties":null,"context":null,"traits":null,"timestamp":null,"type":null,"source":null,"channel":null,"a":null}',
    '{"event":"empty","properties":{},"context":{},"traits":{},"a":{},"b":[],"c":""}',
    '{"event":"empty","properties":[],"context":[],"traits":[]}',
    '{"event":"empty","user_id":"","anonymousId":"","channel":"","source":"","properties":{"a":null,"b":"","c":{},"d":[null,{},[]]}}',
    '{"event":"empty","traits":null}',
    '{"event":"empty","traits":"","extra":{},"raw":null,"message_id":1,"received_at":2}',
  ]
}

function names(): string[] {
  const many = range(200)
    .map(n => `"name ${n}":${n}`)
    .join(',')
  const odd = NAMES.map(name => `${JSON.stringify(name)}:1.50`).join(',')
  const long = 'n'.repeat(100_000)
  return [
    `{"event":"names","properties":{${many}},${many}}`,
    `{"event":"names","properties":{${odd}},${odd}}`,
    `{"event":"names","properties":{"${long}":1.50},"${long}x":[1E5]}`,
    '{"event":"repeated","properties":{"a":1.50,"a":2.50,"b":{"c":1,"c":2}},"d":1,"d":[2.0]}',
    '{"event":"names","properties":{"a":1},"properties":{"a":2.0},"traits":1,"traits":null}',
    '{"event":"first","event":"names","user_id":"a","user_id":"b"}',
    '{"\\u0065vent":"names","\\u0075ser_id":"a","properties":{"\\u0061":1.50,"a":2}}',
  ]
}

function spellings(): string[] {
  const times = [
    '2026-11-24T13:05:07.123Z',
    '2026-11-24',
    '2026-11-24T13:05:07.123456789+02:00',
    '2016-12-31T23:59:60Z',
    '0001-01-01T00:00:00.000Z',
    '9999-12-31T23:59:59.999Z',
    '2024-02-29T00:00:00.000Z',
  ]
  return [
    ...times.map(time => `{"event":"times","timestamp":"${time}","sentAt":"${time}"}`),
    '{"event":"spellings","type":"track","userId":"a","anonymousId":"b"}',
    '{"event":"spellings","type":"track","user_id":"a","anonymous_id":"b"}',
    '{"event":"spellings","userId":"a","anonymousId":"b"}',
    '{"event":"spellings","userId":"a","user_id":"b","type":"page"}',
    '{"event":"spellings","userId":"a","properties":{"user_id":"b"},"extra":"\\"user_id\\":1"}',
    ' { "event" : "spaces" ,\t"properties" : { "a" : [ 1.50 ,\r\n 2 ] , "b" : { } } ,\n"c" : null } ',
  ]
}

function large(): string[] {
  return [
    `{"event":"large","properties":{"a":"${'x'.repeat(LARGE_CHARS)}"}}`,
    `{"event":"large","user_id":"${'"\\'.repeat(1).replace(/["\\]/g, '\\$&').repeat(100_000)}"}`,
  ]
}

/** The text as escapes of UTF-16 code units. */
function escapes(text: string): string {
  return Array.from(
    { length: text.length },
    (_, at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, '0')}`,
  ).join('')
}
