/** Hostile and broken requests. The same random numbers give the same requests. */
import { gzipSync } from 'node:zlib'
import type { Random } from '../helpers/helper.ts'
import { objectText, pick, randomMember } from '../helpers/random-json.ts'

/** Body limits of the attacked server. */
export const BODY_BYTES_MAX = 128 * 1024
export const BATCH_BODY_BYTES_MAX = 512 * 1024

export interface Attack {
  readonly name: string
  /** Each event of the attack has the member `"mark":"…"`, if it is not damaged. */
  readonly mark: string
  readonly bytes: Buffer
  /** What follows the bytes: a last request that closes the connection, the end of the stream, or a reset. */
  readonly ending: 'request' | 'end' | 'reset'
  /** True if no part of the bytes is a complete request. */
  readonly isCut?: boolean
  /** True if the mark may be damaged. */
  readonly isMutated?: boolean
}

type Draft = Pick<Attack, 'bytes'> & Partial<Attack>
type Maker = (random: Random, mark: string) => Draft

const JSON_TYPE = 'content-type: application/json'
const FORM_TYPE = 'content-type: application/x-www-form-urlencoded'
const PATH_TRICKS = [
  '../../../etc/passwd',
  '..\\..\\windows\\system32',
  '/dev/null',
  '%2e%2e%2f%2e%2e%2fx',
  'a/b/../../c',
  '\\u0000.ndjson',
  'dt=2026-01-01/hour=00/batch',
  '.',
  '~/x',
  'C:con',
  '\\u202e\\ud83d\\ude00',
  ' ',
]
const HUGE_NUMBERS = ['1e999999999', '-1e-999999999', '0.1e+1000000', '-0', `1.${'0'.repeat(5_000)}1`]
const BAD_LENGTHS = ['-1', '+5', '0x10', '1e3', '5, 5', '5,6', '', ' ', '99999999999999999999', 'NaN', '٣']
const BAD_CHUNKS = [
  'zz\r\n',
  '-5\r\nhello\r\n',
  'ffffffffffffffff\r\nx',
  'fffffffffffffffffffffff\r\nx',
  '5\r\nhello!!\r\n',
  '5\nhello\n',
  '0x5\r\nhello\r\n',
  `5;${'x=y;'.repeat(8_000)}\r\nhello\r\n0\r\n\r\n`,
  '\r\n\r\n',
  `0\r\n${'trailer: x\r\n'.repeat(3_000)}\r\n`,
]
const TARGETS = [
  '/api/t/../t',
  '//api/t',
  '/api//t',
  '/api/t%00',
  '/api/t/%2e%2e/%2e%2e/etc',
  '/%zz',
  '*',
  'http://elsewhere/api/t',
  '/api/t?'.padEnd(5_000, 'x'),
  `/${'a/'.repeat(3_000)}`,
  '/api/t#x',
  '/API/T',
  '\\api\\t',
  '/__proto__',
  '/constructor/prototype',
]
const HEADERS = [
  'expect: 100-continue',
  'expect: everything',
  'upgrade: websocket\r\nconnection: upgrade',
  'connection: keep-alive, close, __proto__',
  'content-encoding: br',
  'content-encoding: gzip, gzip',
  'content-encoding: gzip',
  'transfer-encoding: identity',
  'transfer-encoding: chunked, chunked',
  '__proto__: x',
  'constructor: x',
  'x-forwarded-for: '.padEnd(3_000, '1, '),
  'cookie: '.padEnd(7_000, 'a=b; '),
  'content-type: application/json; charset=utf-16',
  'content-type: application/json;;;=',
  'content-type: \t',
  'x: \u00ff\u00fe',
  ' folded: x\r\n y',
  'no colon',
  ': no name',
  'x\u0000y: z',
]

const GZIP_BOMB = gzipSync(Buffer.alloc(40 * 1024 * 1024, ' '))

function post(body: Buffer | string, headers = JSON_TYPE, path = '/api/t'): Buffer {
  const bytes = Buffer.from(body)
  return Buffer.concat([
    Buffer.from(
      `POST ${path} HTTP/1.1\r\nhost: localhost\r\n${headers}\r\ncontent-length: ${bytes.length}\r\n\r\n`,
      'latin1',
    ),
    bytes,
  ])
}

function eventJson(mark: string, members = ''): string {
  return `{"event":"fuzz","mark":"${mark}"${members && `,${members}`}}`
}

function randomBytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)))
}

function randomEvent(random: Random, mark: string): string {
  const members = Array.from({ length: random(8) }, () => randomMember(random))
  const kept = members.filter(({ name }) => !['event', 'mark', 'messageId'].includes(JSON.parse(name)))
  const own = [
    { name: '"event"', value: '"fuzz"' },
    { name: '"mark"', value: `"${mark}"` },
  ]
  return objectText(random, [...own, ...kept]).replaceAll(/\s*"mark"\s*:\s*/g, '"mark":')
}

function validRequest(random: Random, mark: string): Buffer {
  const json = randomEvent(random, mark)
  switch (random(5)) {
    case 0:
      return post(`event=fuzz&mark=${mark}&properties[a][b]=c&list[]=%F0%9F%98%80`, FORM_TYPE)
    case 1:
      return post(gzipSync(json), `${JSON_TYPE}\r\ncontent-encoding: gzip`)
    case 2:
      return post(`[${json},{"event":""},${json}]`, JSON_TYPE, '/api/t/batch')
    case 3:
      return Buffer.concat([
        Buffer.from(`POST /api/t HTTP/1.1\r\nhost: h\r\n${JSON_TYPE}\r\ntransfer-encoding: chunked\r\n\r\n`),
        Buffer.from(`${Buffer.byteLength(json).toString(16)}\r\n${json}\r\n0\r\n\r\n`),
      ])
    default:
      return post(json)
  }
}

function mutated(random: Random, bytes: Buffer): Buffer {
  const at = random(bytes.length)
  const to = Math.min(bytes.length, at + 1 + random(40))
  const [before, part, after] = [bytes.subarray(0, at), bytes.subarray(at, to), bytes.subarray(to)]
  switch (random(6)) {
    case 0:
      return Buffer.concat([before, after])
    case 1:
      return Buffer.concat([before, part, part, after])
    case 2:
      return Buffer.concat([before, randomBytes(random, 1 + random(8)), after])
    case 3:
      return Buffer.concat([before, Buffer.from([(part[0] ?? 0) ^ (1 << random(8))]), bytes.subarray(at + 1)])
    case 4:
      return Buffer.concat([before, Buffer.from(pick(random, ['\r\n', '\0', '"', '{', '\\', ':'])), after])
    default:
      return Buffer.concat([after, before])
  }
}

function nested(random: Random): string {
  const depth = 1 + random(20_000)
  const [open, close] = pick(random, [
    ['[', ']'],
    ['{"a":', '}'],
    ['[{"":', '}]'],
  ] as const)
  return `${open.repeat(depth)}null${close.repeat(random(4) === 0 ? random(depth) : depth)}`
}

const MAKERS: Record<string, Maker> = {
  'a valid request': (random, mark) => ({ bytes: validRequest(random, mark) }),
  'a mutated request': (random, mark) => {
    let bytes = validRequest(random, mark)
    for (let times = 1 + random(4); times > 0; times--) bytes = mutated(random, bytes)
    return { bytes, isMutated: true }
  },
  'requests in a row': (random, mark) => {
    const requests = Array.from({ length: 2 + random(20) }, () => post(eventJson(mark)))
    if (random(2) === 0) requests.splice(random(requests.length), 0, randomBytes(random, 30))
    return { bytes: Buffer.concat(requests) }
  },
  'a body that is cut': (random, mark) => {
    const whole = post(randomEvent(random, mark))
    const bodyLength = whole.length - whole.indexOf('\r\n\r\n') - 4
    const bytes = whole.subarray(0, whole.length - 1 - random(bodyLength))
    return { bytes, isCut: true, ending: pick(random, ['end', 'reset'] as const) }
  },
  'a lying content-length': (random, mark) => {
    const body = eventJson(mark)
    const length = pick(random, [
      ...BAD_LENGTHS,
      String(random(body.length)),
      String(body.length + random(40)),
    ])
    const head = `POST /api/t HTTP/1.1\r\nhost: h\r\n${JSON_TYPE}\r\ncontent-length: ${length}\r\n\r\n`
    return { bytes: Buffer.from(head + body) }
  },
  'garbage in chunks': (random, mark) => {
    const head = `POST /api/t HTTP/1.1\r\nhost: h\r\n${JSON_TYPE}\r\ntransfer-encoding: chunked\r\n\r\n`
    const body = eventJson(mark)
    const good = random(2) === 0 ? `${body.length.toString(16)}\r\n${body}\r\n` : ''
    return { bytes: Buffer.from(head + good + pick(random, BAD_CHUNKS)) }
  },
  'deep nesting': (random, mark) => ({ bytes: post(eventJson(mark, `"deep":${nested(random)}`)) }),
  'huge numbers': (random, mark) => ({
    bytes: post(eventJson(mark, `"n":${pick(random, [...HUGE_NUMBERS, '9'.repeat(1 + random(100_000))])}`)),
  }),
  'lone surrogates': (random, mark) => {
    const lone = pick(random, ['\\ud800', '\\udfff\\ud800', '\\uD83D', 'x\\udc00y'])
    const members = [`"${lone}":1`, `"messageId":"${mark}${lone}"`, `"x":"${lone}"`, `"userId":"${lone}"`]
    return { bytes: post(eventJson(mark, pick(random, members))) }
  },
  'what is not UTF-8': (random, mark) => {
    const [before = '', after = ''] = eventJson(mark, '"x":"@"').split('@')
    const bad = pick(random, [
      Buffer.from([0xed, 0xa0, 0x80]),
      Buffer.from([0xc0, 0xaf]),
      Buffer.from([0xf5, 0x80, 0x80, 0x80]),
      Buffer.from([0xff]),
      randomBytes(random, 1 + random(50)),
    ])
    return { bytes: post(Buffer.concat([Buffer.from(before), bad, Buffer.from(after)])) }
  },
  'keys that stand twice': (random, mark) => {
    const twice = pick(random, [
      `"event":"","event":"a"`,
      `"event":"a","event":7`,
      `"messageId":"x","messageId":"${mark}"`,
      `"messageId":"${mark}","messageId":""`,
      `"receivedAt":"1999-01-01T00:00:00.000Z","receivedAt":{}`,
      Array.from({ length: 2_000 }, () => '"a":1').join(),
    ])
    return { bytes: post(eventJson(mark, twice)) }
  },
  'a flood of headers': (random, mark) => {
    const header = `x-${'h'.repeat(random(20))}: ${'v'.repeat(random(40))}\r\n`
    return { bytes: post(eventJson(mark), header.repeat(random(4_000)) + JSON_TYPE) }
  },
  'odd headers': (random, mark) => {
    const headers = Array.from({ length: 1 + random(3) }, () => pick(random, HEADERS))
    return { bytes: post(eventJson(mark), [...headers, JSON_TYPE].join('\r\n')) }
  },
  'no host': (random, mark) => {
    const version = pick(random, ['1.1', '1.0', '0.9', '2.0', '9.9'])
    const request = post(eventJson(mark)).toString().replace('host: localhost\r\n', '')
    return { bytes: Buffer.from(request.replace('HTTP/1.1', `HTTP/${version}`)) }
  },
  'an odd target': (random, mark) => ({ bytes: post(eventJson(mark), JSON_TYPE, pick(random, TARGETS)) }),
  'another method': (random, mark) => {
    const method = pick(random, [
      'GET',
      'PUT',
      'DELETE',
      'PATCH',
      'TRACE',
      'OPTIONS',
      'PROPFIND',
      'FUZZ',
      'post',
    ])
    return { bytes: Buffer.from(post(eventJson(mark)).toString().replace('POST', method)) }
  },
  'a gigantic form': (random, mark) => {
    const rest = pick(random, [
      Array.from({ length: 1 + random(9_000) }, (_, n) => `f${n}=v`).join('&'),
      `a${'[b]'.repeat(1 + random(10_000))}=c`,
      `a[${random(1e9)}]=b&`.repeat(1 + random(500)),
      'a[]=b&'.repeat(1 + random(9_000)),
      `${'%'.repeat(1 + random(9_000))}=${'%ff'.repeat(random(500))}`,
      '&'.repeat(random(50_000)),
      '='.repeat(random(50_000)),
      `x=${'y'.repeat(random(2 * BODY_BYTES_MAX))}`,
    ])
    return { bytes: post(`event=fuzz&mark=${mark}&${rest}`, FORM_TYPE) }
  },
  'path tricks in ids': (random, mark) => {
    const trick = `${pick(random, PATH_TRICKS)}${mark}`
    const ids = pick(random, ['messageId', 'userId', 'user_id', 'anonymousId', 'event'])
    return { bytes: post(`{"mark":"${mark}","event":"fuzz","${ids}":"${trick}"}`) }
  },
  'a poisoned prototype': (random, mark) => {
    const poison = pick(random, [
      '"__proto__":{"isAdmin":true}',
      '"\\u005f\\u005fproto__":[]',
      '"constructor":{"prototype":{"x":1}}',
      '"properties":{"a":{"__proto__":null}}',
      '"toString":1,"valueOf":2,"hasOwnProperty":3',
    ])
    return { bytes: post(eventJson(mark, poison)) }
  },
  'a bad gzip': (random, mark) => {
    const packed = gzipSync(eventJson(mark, `"x":"${'x'.repeat(random(100))}"`))
    const bad = pick(random, [
      mutated(random, packed),
      packed.subarray(0, random(packed.length)),
      Buffer.concat([packed, packed]),
      Buffer.concat([packed, randomBytes(random, 20)]),
      GZIP_BOMB,
      gzipSync(packed),
    ])
    return { bytes: post(bad, `${JSON_TYPE}\r\ncontent-encoding: gzip`), isMutated: true }
  },
  'a batch that is none': (random, mark) => {
    const body = pick(random, [
      '[]',
      `[${'[],'.repeat(5_000)}null]`,
      `{"batch":[${eventJson(mark)}],"batch":[]}`,
      `[${Array.from({ length: 1 + random(9_000) }, () => '{}').join()}]`,
      `{"batch":{"0":${eventJson(mark)}}}`,
      `[${eventJson(mark)},`,
      `[${nested(random)}]`,
    ])
    return { bytes: post(body, JSON_TYPE, '/api/t/batch') }
  },
  'too much': (random, mark) => ({
    bytes: post(eventJson(mark, `"x":"${'x'.repeat(BODY_BYTES_MAX * (1 + random(8)))}"`)),
  }),
  'no HTTP at all': random => ({ bytes: randomBytes(random, 1 + random(2_000)) }),
}

const NAMES = Object.keys(MAKERS)

export function randomAttack(random: Random, number: number): Attack {
  const name = pick(random, NAMES)
  const mark = `m${number}-${random(1e9).toString(36)}`
  return { name, mark, ending: 'request', ...(MAKERS[name] as Maker)(random, mark) }
}
