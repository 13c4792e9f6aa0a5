/** Each event against what DuckDB finds in its row, value for value. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { DuckDBInstance } from '@duckdb/node-api'
import { type Test, test } from 'tap'
import { memberValue } from '../../../src/event/json-members.ts'
import { COLUMNS } from '../../../src/query/event-columns.ts'
import { EVENT_JSON } from '../../../src/query/event-json.ts'
import { EventRows } from '../../../src/query/event-rows.ts'
import { withoutCarriageReturns } from '../../../src/query/line-bytes.ts'
import { parquetOfRows } from '../../../src/query/table-sql.ts'
import { createRandom, type Random, range, temporaryDirectory } from '../../helpers/helper.ts'
import { pick, randomString, randomValue } from '../../helpers/random-json.ts'

const ROUNDS = 4_000
const TEXTS: Readonly<Record<string, string>> = {
  messageId: 'message_id',
  event: 'event',
  type: 'type',
  userId: 'user_id',
  anonymousId: 'anonymous_id',
  source: 'source',
  channel: 'channel',
}
const OBJECTS = ['properties', 'context', 'traits']
const TIMES: Readonly<Record<string, string>> = { timestamp: 'timestamp', receivedAt: 'received_at' }
const CAMEL = ['userId', 'anonymousId']
const SNAKE = ['user_id', 'anonymous_id']
/** Other values than texts leave the event in `raw`. */
const IDENTITY = ['messageId', 'source']
const NAMES = [...Object.keys(TEXTS), ...OBJECTS, ...Object.keys(TIMES)]
const SOME_TIMES = [
  '"2026-11-24T13:05:07.123Z"',
  '"2026-11-24T13:05:07Z"',
  '"2026-02-30T13:05:07.123Z"',
  '"2024-02-29T23:59:59.999Z"',
  '"2026-11-24"',
  '"yesterday"',
  '""',
  '1795811640123',
  'null',
]

type Row = Readonly<Record<(typeof COLUMNS)[number], string | null>> & {
  readonly id_length: number | null
  /** The event, rebuilt from the columns. */
  readonly line: string
}

/** The rows of a file that DuckDB made of these events. Times are as JSON writes them. */
async function rowsOf(t: Test, lines: readonly string[]): Promise<Row[]> {
  const directory = temporaryDirectory(t)
  const rows = new EventRows()
  const bytes = withoutCarriageReturns(Buffer.from(lines.map(line => `${line}\n`).join('')))
  let start = 0
  for (let end = bytes.indexOf('\n'); end !== -1; end = bytes.indexOf('\n', start)) {
    rows.add(bytes, start, end)
    start = end + 1
  }
  t.equal(rows.count, lines.length)
  const path = join(directory, 'rows')
  const taken = rows.take()
  writeFileSync(path, taken)
  const { count, longest } = rows
  const connection = await (await DuckDBInstance.create(':memory:', { threads: '1' })).connect()
  await connection.run("set timezone = 'UTC'")
  const parquet = join(directory, 'rows.parquet')
  await connection.run(parquetOfRows({ path, count, bytes: taken.length, longest }, parquet))
  const columns = COLUMNS.map(name =>
    name.endsWith('_at') || name === 'timestamp'
      ? `strftime(${name}, '%Y-%m-%dT%H:%M:%S.%gZ') as ${name}`
      : name,
  )
  const readable = ['properties', 'context', 'traits', 'extra'].map(
    name =>
      `coalesce(json_valid(${name}), true) and (json_keys(${name}) is null or true) and (json_extract(${name}, '$.a') is null or true)`,
  )
  const reader = await connection.runAndReadAll(
    `select ${columns.join(', ')}, ${readable.join(' and ')} as is_readable,
      length(message_id)::int as id_length, ${EVENT_JSON} as line from '${parquet}'`,
  )
  const found = reader.getRowObjectsJson() as unknown as (Row & { is_readable: boolean })[]
  t.ok(found.every(row => row.is_readable))
  t.equal(found.length, lines.length)
  return found
}

/** The row of each event. @param isAlone each is cut without knowledge of the events before */
function rowTexts(lines: readonly string[], isAlone: boolean): { texts: string[]; knownCount: number } {
  let rows = new EventRows()
  const texts = lines.map(line => {
    if (isAlone) rows = new EventRows()
    const bytes = withoutCarriageReturns(Buffer.from(line))
    rows.add(bytes, 0, bytes.length)
    return rows.take().toString()
  })
  return { texts, knownCount: rows.knownCount }
}

/** The same event with other values: some of other types. Names stay. */
function withOtherValues(random: Random, line: string): string {
  return line.replace(
    /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[-+.\dEe]*|true|false|null/g,
    (token, text?: string, colon?: string) => {
      if (colon !== undefined || random(3) === 0) return token
      const isSameType = random(8) > 0
      if (isSameType && text !== undefined) return randomString(random)
      if (isSameType) return pick(random, ['0', '-1.50', '1e400', 'true', 'null'])
      return pick(random, ['""', '7', 'null', '"2026-11-24T13:05:07.123Z"', '"\\ud800"', '[]'])
    },
  )
}

/** A value whose texts and names have no lone surrogate. */
function wellFormed(value: unknown): unknown {
  if (typeof value === 'string') return value.replace(/\p{Surrogate}/gu, '\ufffd')
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(wellFormed)
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [String(wellFormed(name)), wellFormed(each)]),
  )
}

/** Whether `extra` has a member that has a column: the column does not say how it was sent. */
function isOtherwise(event: Record<string, unknown>, name: string, value: unknown): boolean {
  if (OBJECTS.includes(name)) return false
  if (value === null) return true
  const hasType = event.type !== undefined && event.type !== null
  if ((hasType ? SNAKE : CAMEL).includes(name)) return true
  if (name in TIMES) return !isPlainTime(value)
  return typeof value !== 'string' && !IDENTITY.includes(name)
}

function isPlainTime(value: unknown): boolean {
  const date = new Date(String(value))
  return typeof value === 'string' && !Number.isNaN(date.getTime()) && date.toISOString() === value
}

/** The numbers of JSON as they are written, sorted. */
function numbersOf(json: string): string[] {
  const tokens = json.match(/"(?:[^"\\]|\\.)*"|-?\d[-+.\dEe]*/g) ?? []
  return tokens.filter(token => !token.startsWith('"')).sort()
}

/** What a row does not say of its event as it should. */
function problemsOf(row: Row, line: string): string[] {
  const event = JSON.parse(line) as Record<string, unknown>
  const problems: string[] = []
  const expect = (isTrue: boolean, what: string): void => {
    if (!isTrue) problems.push(`${what}: ${JSON.stringify(row)} of ${line}`)
  }
  expect(row.raw === null || row.raw === line.replaceAll('\r', ' '), 'raw')
  for (const [name, column] of Object.entries(TEXTS)) {
    const value = event[name]
    const found = row[column as keyof Row]
    if (typeof value === 'string') expect(found === wellFormed(value), column)
    else if (value === undefined || value === null) expect(found === null, column)
    else if (typeof value === 'object')
      expect(isDeepStrictEqual(wellFormed(JSON.parse(String(found))), wellFormed(value)), column)
    const isText = value === undefined || value === null || typeof value === 'string'
    expect(isText || !IDENTITY.includes(name) || row.raw !== null, `raw for ${column}`)
  }
  for (const name of OBJECTS) {
    const found = row[name as keyof Row]
    if (!(name in event)) expect(found === null, name)
    else {
      expect(isDeepStrictEqual(JSON.parse(String(found)), wellFormed(event[name])), name)
      const written = String(memberValue(Buffer.from(line.replaceAll('\r', ' ')), name))
      expect(row.raw !== null || found === written, `digits of ${name}`)
    }
  }
  for (const [name, column] of Object.entries(TIMES))
    expect(!isPlainTime(event[name]) || row[column as keyof Row] === event[name], column)
  expect(row.raw === null || row.line === row.raw, 'line of raw')
  expect(isDeepStrictEqual(JSON.parse(row.line), event), 'values of line')
  expect(isDeepStrictEqual(numbersOf(row.line), numbersOf(line)), 'digits of line')
  const others = Object.fromEntries(
    Object.entries(event).filter(([name, value]) => !NAMES.includes(name) || isOtherwise(event, name, value)),
  )
  if (Object.keys(others).length === 0) expect(row.extra === null, 'extra')
  else expect(isDeepStrictEqual(JSON.parse(String(row.extra)), wellFormed(others)), 'extra')
  return problems
}

test('random events, with all that JSON allows', async t => {
  const random = createRandom(15)
  const lines = range(ROUNDS).map(() => {
    const members = range(random(8)).map(() => {
      const name = random(3) === 0 ? randomString(random) : JSON.stringify(pick(random, NAMES))
      const value = name in TIMES && random(2) === 0 ? pick(random, SOME_TIMES) : randomValue(random)
      return `${pick(random, ['', ' '])}${name}${pick(random, [':', ' : '])}${value.replaceAll('\n', ' ')}`
    })
    return `{${members.join(',')}}`
  })
  const rows = await rowsOf(t, lines)
  const problems = lines.flatMap((line, index) => problemsOf(rows[index] as Row, line))
  t.same(problems.slice(0, 10), [])
  t.ok(rows.filter(({ raw }) => raw === null).length > ROUNDS / 20, 'some need no raw')
})

test('an event of a known shape has the row that it has alone', async t => {
  const random = createRandom(16)
  const candidates = range(1_000).map(() => {
    const members = range(1 + random(8)).map(() => {
      const name = random(3) === 0 ? randomString(random) : JSON.stringify(pick(random, NAMES))
      const value = name.slice(1, -1) in TIMES ? pick(random, SOME_TIMES) : randomValue(random)
      return `${pick(random, ['', ' '])}${name}${pick(random, [':', ' : '])}${value.replaceAll(/[\r\n]/g, ' ')}`
    })
    return `{${members.join(',')}}`
  })
  const rowsAlone = rowTexts(candidates, true).texts
  const shapes = candidates.filter((_, index) => rowsAlone[index]?.endsWith('\x1f\n')).slice(0, 40)
  const lines = range(ROUNDS).map(() => withOtherValues(random, pick(random, shapes)))
  const { texts, knownCount } = rowTexts(lines, false)
  t.ok(knownCount > ROUNDS / 4, `${knownCount} were known`)
  const alone = rowTexts(lines, true).texts
  const problems = lines.flatMap((line, index) =>
    texts[index] === alone[index] ? [] : { line, known: texts[index], alone: alone[index] },
  )
  t.same(problems.slice(0, 3), [])
})

test('events that look like others, but for one byte', async t => {
  const likeEachOther = [
    '{"event":"a","properties":{"n":1},"userId":"u"}',
    '{"event":"a","properties":{"n":"1"},"userId":"u"}',
    '{"event":"a","properties":{"n":{}},"userId":"u"}',
    '{"event":"a","properties":{"n":[1]},"userId":"u"}',
    '{"event":"a","properties":{"n":[1,2]},"userId":"u"}',
    '{"event":"a","properties":{"n":null},"userId":null}',
    '{"event":null,"properties":{"n":null},"userId":"u"}',
    '{"event":"","properties":{"n":""},"userId":""}',
    '{"event":"\\"","properties":{"n":"\\\\"},"userId":"\\\\\\""}',
    '{"event":"\\ud83d\\ude00","properties":{"n":"\\ude00"},"userId":"\\ud83d"}',
    '{"event":"a","properties":{"n":1},"user_id":"u"}',
    '{"event":"a","properties":{"n":1},"userId":"u" }',
    '{"event":"a","properties":{"n":1},"userId":7}',
    '{"event":"a","properties":{"n":1,"n":2},"userId":"u"}',
    '{"event":",\\"properties\\":{\\"n\\":","properties":{"n":-0.0},"userId":"u"}',
    '{"event":"a","properties":{"n":1},"receivedAt":"2026-11-24T13:05:07.123Z"}',
    '{"event":"a","properties":{"n":1},"receivedAt":"2026-02-29T13:05:07.123Z"}',
    '{"event":"a","properties":{"n":1},"receivedAt":"2026-11-24T24:05:07.123Z"}',
    '{"event":"a","properties":{"n":1},"receivedAt":"0026-11-24T13:05:07.123Z"}',
  ]
  const lines = range(4).flatMap(() => likeEachOther)
  t.strictSame(rowTexts(lines, false).texts, rowTexts(lines, true).texts)
})

test('shapes without end are given up, and rows stay right', async t => {
  const lines = range(9_000).map(n => `{"event":"e${n}","properties":{"key-${n}":${n}},"k${n % 70}":[${n}]}`)
  const { texts, knownCount } = rowTexts(lines, false)
  t.equal(knownCount, 0)
  t.strictSame(texts.slice(-50), rowTexts(lines.slice(-50), true).texts)
})

test('times: what can be read is a time, the rest is NULL, and what they were is not lost', async t => {
  const lines = SOME_TIMES.map(time => `{"timestamp":${time},"receivedAt":"2026-11-24T13:05:07.123Z"}`)
  const rows = await rowsOf(t, lines)
  t.strictSame(
    rows.map(({ timestamp }) => timestamp),
    [
      '2026-11-24T13:05:07.123Z',
      '2026-11-24T13:05:07.000Z',
      null,
      '2024-02-29T23:59:59.999Z',
      '2026-11-24T00:00:00.000Z',
      null,
      null,
      '2026-11-24T00:00:00.000Z',
      null,
    ].map((time, index) => (index === 7 ? new Date(1_795_811_640_123).toISOString() : time)),
  )
  for (const [index, { received_at, extra, raw }] of rows.entries()) {
    const isPlain = index === 0 || index === 3
    t.equal(received_at, '2026-11-24T13:05:07.123Z')
    t.equal(extra, isPlain ? null : `{"timestamp":${SOME_TIMES[index]}}`)
    t.equal(raw, null)
  }
})

test('both names of one column, empty texts, and numbers as ids', async t => {
  const lines = [
    '{"userId":"a","user_id":"b"}',
    '{"user_id":42}',
    '{"user_id":1.50}',
    '{"userId":"","event":"\\\\"}',
    '{"user_id":null,"anonymous_id":"x"}',
    '{"messageId":42,"source":7}',
    '{"messageId":null,"source":null}',
  ]
  const rows = await rowsOf(t, lines)
  t.strictSame(
    rows.map(({ user_id, anonymous_id, event, extra, raw }) => [
      user_id,
      anonymous_id,
      event,
      extra,
      raw !== null,
    ]),
    [
      ['a', null, null, '{"userId":"a","user_id":"b"}', true],
      ['42', null, null, '{"user_id":42}', false],
      ['1.50', null, null, '{"user_id":1.50}', false],
      ['', null, '\\', '{"userId":""}', false],
      [null, 'x', null, '{"user_id":null}', false],
      [null, null, null, null, true],
      [null, null, null, '{"messageId":null,"source":null}', false],
    ],
  )
  t.match(rows[5], { message_id: '42', source: '7' })
})

test('each spelling of the ids is kept, and needs no raw', async t => {
  const ids = [
    '"userId":"u"',
    '"user_id":"u"',
    '"anonymousId":"a"',
    '"anonymous_id":"a"',
    '"userId":"u","anonymous_id":"a"',
    '"user_id":"u","anonymousId":"a"',
    '"user_id":"\\"\\n","properties":{"userId":1},"nested":{"userId":2}',
    '"userId":null',
    '"userId":null,"user_id":"u"',
    '"user_id":"u","userId":null,"anonymousId":null,"anonymous_id":7',
    '"userId":-0,"anonymousId":1e400,"event":true,"channel":null,"timestamp":"2026-11-24"',
  ]
  const lines = ids.flatMap(each => [
    `{${each}}`,
    `{${each},"type":"track"}`,
    `{"type":"track",${each},"n":1.50}`,
  ])
  const rows = await rowsOf(t, lines)
  for (const [index, line] of lines.entries()) {
    t.equal(rows[index]?.raw, null, line)
    t.strictSame(JSON.parse(String(rows[index]?.line)), JSON.parse(line), line)
  }
  t.strictSame(
    rows.slice(0, 6).map(({ extra }) => extra),
    ['{"userId":"u"}', null, '{"n":1.50}', null, '{"user_id":"u"}', '{"n":1.50,"user_id":"u"}'],
  )
})

test('an object with many names needs no raw', async t => {
  const members = (count: number) => range(count).map(n => `"name_${n}":${n}`)
  const lines = [
    `{"properties":{${members(500)}}}`,
    `{${members(300)},"properties":{"a":[{${members(200)}}]}}`,
    `{"properties":{${members(600)}}}`,
  ]
  const rows = await rowsOf(t, lines)
  t.strictSame(
    rows.map(({ raw }) => raw),
    [null, null, lines[2]],
  )
  for (const [index, row] of rows.entries())
    t.strictSame(JSON.parse(row.line), JSON.parse(String(lines[index])))
})

test('of equal names the last counts, at every depth', async t => {
  const lines = [
    '{"event":"a","event":"b"}',
    '{"properties":{"a":1,"b":{"c":1.50,"c":2.50},"a":3}}',
    '{"properties":{"a":1,"\\u0061":2}}',
    `{"properties":{${range(200)
      .map(n => `"k${n % 100}":${n}`)
      .join(',')}}}`,
    '{"x":1,"x":2}',
  ]
  const rows = await rowsOf(t, lines)
  t.equal(rows[0]?.event, 'b')
  t.equal(rows[1]?.properties, '{"a":3,"b":{"c":2.50}}')
  t.equal(rows[2]?.properties, '{"a":2}')
  t.equal(JSON.parse(String(rows[3]?.properties)).k7, 107)
  t.equal(rows[4]?.extra, '{"x":2}')
  for (const [index, line] of lines.entries()) t.equal(rows[index]?.raw, line)
})

test('what nests too deep for JSON functions is a string there, in time', async t => {
  const deep = (depth: number) => `${'{"a":['.repeat(depth)}1${']}'.repeat(depth)}`
  const lines = [`{"event":"a","properties":${deep(100)}}`, `{"event":"b","properties":${deep(100_000)}}`]
  const rows = await rowsOf(t, lines)
  t.equal(rows[0]?.properties, deep(100))
  t.equal(rows[0]?.raw, null)
  t.equal(rows[1]?.event, 'b')
  t.equal(rows[1]?.raw, lines[1])
})

test('a line that is no event is not taken for one', async t => {
  for (const line of ['', '[1]', '"a"', '{"a":1', '{"a":"b', '{"a":{"b":1}', '{"a":[1,2}']) {
    const bytes = Buffer.from(line)
    t.throws(() => new EventRows().add(bytes, 0, bytes.length), SyntaxError, line)
  }
})

test('a byte order mark at the start of the first text stays', async t => {
  const rows = await rowsOf(t, ['{"messageId":"\ufeffabc"}', '{"messageId":"\ufeffabc"}'])
  // The bindings for JavaScript drop the mark, so DuckDB counts.
  for (const { id_length } of rows) t.equal(id_length, 4)
})

test('null does not hide the other name of a column', async t => {
  const rows = await rowsOf(t, ['{"userId":null,"user_id":"x"}', '{"userId":null,"user_id":"x","event":1}'])
  t.strictSame(
    rows.map(({ user_id, extra, raw }) => [user_id, extra, raw]),
    [
      ['x', '{"userId":null}', null],
      ['x', '{"userId":null,"event":1}', null],
    ],
  )
})

test('an event of the largest size, in its columns and raw', async t => {
  const text = 'x'.repeat(60 * 1024 * 1024)
  const [row] = await rowsOf(t, [`{"messageId":1,"properties":{"text":"${text}"}}`])
  t.equal(row?.properties?.length, text.length + 11)
  t.equal(row?.raw?.length, text.length + 40)
})
