/** Every event through every way out of the archive, value for value and digit for digit, against what was sent. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { build, objectOf, openArchive, putObject } from '../helpers/archive-by-hand.ts'
import { canonical, type EventRow, lineOf, writtenMembers } from '../helpers/event-members.ts'
import {
  csvRows,
  duckdbRows,
  foundRow,
  hyparquetRows,
  linesOf,
  ndjsonRows,
} from '../helpers/event-readers.ts'
import { archivedEvents, hardEvents } from '../helpers/hard-events.ts'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { readIcebergFiles } from '../helpers/iceberg-reader.ts'
import { archivedObjects } from './archived.ts'
import { buildProgram, runProgram, startProgram } from './program.ts'

const PAYLOADS_MIN = 300
/** Deeper JSON is a string in its column, and is compared in `raw` alone. */
const COMPARED_DEPTH_MAX = 500

const path = await buildProgram(t)

interface Webhook {
  readonly name: string
  readonly examples: readonly unknown[]
}

/** Example webhooks of GitHub: JSON of one payload each. */
function payloads(): string[] {
  const webhooks: Webhook[] = createRequire(import.meta.url)('@octokit/webhooks-examples')
  return webhooks.flatMap(({ examples }) => examples.map(example => JSON.stringify(example)))
}

/** An event by the id that it was sent with. */
type Events = ReadonlyMap<string, string>

function withIds(kind: string, events: readonly string[]): Map<string, string> {
  return new Map(
    events.map((event, n) => {
      const id = `${kind}-${n}`
      return [id, `{"messageId":"${id}",${event.slice(event.indexOf('{') + 1)}`]
    }),
  )
}

async function send(url: string, body: string, headers: Record<string, string> = {}): Promise<string> {
  const init = { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } }
  const response = await fetch(url, init)
  const answer = await response.text()
  if (!response.ok) throw new Error(`${response.status} ${answer.slice(0, 500)} for ${body.slice(0, 200)}`)
  return answer
}

/** Sends everything to a server, by each route that takes JSON. Resolves to what was sent. */
async function sendAll(t: Test, url: string): Promise<Events> {
  const github = payloads()
  t.ok(github.length > PAYLOADS_MIN)
  const tracked = github.map(payload => `{"event":"github","properties":${payload}}`)
  const single = withIds('single', tracked)
  await Promise.all([...single.values()].map(event => send(`${url}/api/t`, event)))
  const batched = withIds('batched', tracked)
  const hard = withIds('hard', hardEvents())
  for (const events of [batched, hard]) {
    const answer = await send(`${url}/api/t/batch`, `[${[...events.values()].join(',')}]`)
    t.match(JSON.parse(answer), { accepted: events.size, refused: [] })
  }
  const hooks = new Map<string, string>()
  const hook = async (payload: string, n: number): Promise<void> => {
    const id = `hook-${n}`
    await send(`${url}/api/hook/github`, payload, { 'x-github-delivery': id })
    hooks.set(id, `{"event":"github","messageId":"${id}","properties":${payload}}`)
  }
  await Promise.all(github.map(hook))
  return new Map([...single, ...batched, ...hard, ...hooks])
}

const memberLists = new Map<string, readonly string[]>()

/** Kept: each way is compared with the same events. */
function membersOf(line: string): readonly string[] {
  const known = memberLists.get(line) ?? canonical(line)
  memberLists.set(line, known)
  return known
}

function idOf(line: string): string {
  return JSON.parse(writtenMembers(line).find(({ name }) => name === 'messageId')?.json ?? '""')
}

/** The archived events are those that were sent: `receivedAt` is added, and line breaks between tokens are spaces. */
function assertArchived(t: Test, archived: Events, sent: Events): void {
  const differing = [...sent].filter(([id, line]) => {
    const isTime = (member: string): boolean => member.startsWith('"receivedAt":')
    const found = canonical(archived.get(id) ?? '{}').filter(member => !isTime(member))
    return !isDeepStrictEqual(found, canonical(line.replace(/[\r\n]/g, ' ')))
  })
  t.same(shortened(differing.map(([id]) => `${id}: ${archived.get(id)} of ${sent.get(id)}`)), [])
}

/** What events say otherwise than the archive does. */
function assertSame(
  t: Test,
  lines: readonly string[],
  archived: Events,
  how: string,
  withMarks = true,
): void {
  const found = new Map(lines.map(line => [idOf(line), line]))
  t.equal(lines.length, archived.size, `${how}: as many`)
  const said = (line: string): readonly string[] =>
    withMarks ? membersOf(line) : membersOf(line).map(member => member.replace(/:"\ufeff/, ':"'))
  const differing = [...archived].filter(([id, line]) => {
    const own = found.get(id)
    return own === undefined || (own !== line && !isDeepStrictEqual(said(own), said(line)))
  })
  t.same(shortened(differing.map(([id, line]) => `${id}: ${found.get(id)} of ${line}`)), [], how)
}

/** Columns hold values also where `raw` has the event. @param parse the value of a column of JSON */
function assertColumns(
  t: Test,
  rows: readonly EventRow[],
  archived: Events,
  how: string,
  parse = (json: string | null): unknown => JSON.parse(json ?? 'null'),
): void {
  const differing = rows.filter(row => {
    const line = archived.get(row.message_id ?? '')
    if (line === undefined || depthOf(line) > COMPARED_DEPTH_MAX) return line === undefined
    const event = wellFormed(JSON.parse(line)) as Record<string, unknown>
    const isSame = (name: string): boolean =>
      typeof event[name] !== 'string' || withoutMark(row[name]) === withoutMark(event[name])
    const isSameJson = (name: string): boolean =>
      isDeepStrictEqual(parse(row[name] ?? null), event[name] ?? null)
    return !(
      ['event', 'channel', 'source'].every(isSame) && ['properties', 'context', 'traits'].every(isSameJson)
    )
  })
  t.same(shortened(differing.map(row => `${row.message_id}: ${archived.get(row.message_id ?? '')}`)), [], how)
}

/** hyparquet drops a byte order mark at the beginning of a text. */
function withoutMark(text: unknown): string {
  return String(text).replace(/^\ufeff/, '')
}

/** hyparquet parses JSON, so the digits of numbers are not compared. */
function assertParsed(t: Test, rows: readonly EventRow[], archived: Events, how: string): void {
  t.equal(rows.length, archived.size, `${how}: as many`)
  assertColumns(t, rows, archived, how, value => value)
  const differing = rows.filter(
    ({ message_id, raw }) => raw !== null && archived.get(String(message_id)) !== raw,
  )
  t.same(shortened(differing.map(({ raw }) => String(raw))), [], `${how}, raw`)
}

function depthOf(line: string): number {
  let depth = 0
  let deepest = 0
  for (const [token] of line.matchAll(/"(?:[^"\\]|\\.)*?"|[[{}\]]/gs)) {
    if (token === '{' || token === '[') deepest = Math.max(deepest, ++depth)
    else if (token === '}' || token === ']') depth--
  }
  return deepest
}

/** A lone surrogate is U+FFFD. */
function wellFormed(value: unknown): unknown {
  if (typeof value === 'string') return value.replace(/\p{Surrogate}/gu, '\ufffd')
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(wellFormed)
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [wellFormed(name), wellFormed(each)]))
}

function shortened(texts: readonly string[]): string[] {
  return texts.slice(0, 5).map(text => text.slice(0, 1_000))
}

/** NDJSON has `null` for both a missing member and one that is `null`. */
function withoutNulls(lines: readonly string[]): string[] {
  return lines.map(line => {
    const isKept = ({ name, json }: { name: string; json: string }): boolean =>
      json !== 'null' || !['properties', 'context', 'traits'].includes(name)
    const members = writtenMembers(line).filter(isKept)
    return `{${members.map(({ name, json }) => `${JSON.stringify(name)}:${json}`).join(',')}}`
  })
}

async function run(t: Test, args: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const { code, stderr } = await runProgram(t, path, args, { ...process.env, ...env })
  t.equal(code, 0, `${args[0]} ends well: ${stderr}`)
}

/** The ways that answer from objects and table alike. */
async function assertAnswers(t: Test, env: NodeJS.ProcessEnv, archived: Events, when: string): Promise<void> {
  const directory = temporaryDirectory(t)
  const answer = async (format: string): Promise<string> => {
    const file = join(directory, `answer.${format}`)
    await run(t, ['query', 'select * from events', `--format=${format}`, `--output=${file}`], env)
    return file
  }
  const csv = csvRows(readFileSync(await answer('csv'), 'utf8'))
  assertSame(t, csv.map(lineOf), archived, `${when}, CSV`)
  assertColumns(t, csv, archived, `${when}, columns of CSV`)
  const [ndjson, parquet] = await Promise.all([
    answer('ndjson'),
    answer('parquet'),
    assertReplayed(t, env, archived, when),
    assertLastCounts(t, env, when),
  ])
  const rows = ndjsonRows(readFileSync(ndjson, 'utf8'))
  const withValues = new Map([...archived].map(([id, line]) => [id, withoutNulls([line])[0] as string]))
  assertSame(t, withoutNulls(rows.map(lineOf)), withValues, `${when}, NDJSON`)
  assertSame(t, (await duckdbRows(parquet)).map(lineOf), archived, `${when}, Parquet by DuckDB`)
  assertParsed(t, await hyparquetRows(parquet), archived, `${when}, Parquet by hyparquet`)
}

/** Of two equal names the last counts, where DuckDB would take the first. */
async function assertLastCounts(t: Test, env: NodeJS.ProcessEnv, when: string): Promise<void> {
  const members = "properties->>'a' as a, properties->'b'->>'c' as c, extra->>'d' as d"
  const sql = `select ${members} from events where event = 'repeated'`
  const { stdout } = await runProgram(t, path, ['query', sql, '--format=csv'], { ...process.env, ...env })
  t.equal(stdout, 'a,c,d\n2.5,2,[2.0]\n', `${when}, repeated names`)
}

async function assertReplayed(
  t: Test,
  env: NodeJS.ProcessEnv,
  archived: Events,
  when: string,
): Promise<void> {
  const file = join(temporaryDirectory(t), 'replayed.ndjson')
  await run(t, ['replay', `--output=${file}`], { ...env, DATA_DIR: temporaryDirectory(t) })
  assertSame(t, linesOf(readFileSync(file, 'utf8')), archived, `${when}, replay`)
}

async function assertTable(t: Test, table: string, archived: Events): Promise<void> {
  const globbed = await duckdbRows(`${table}/data/**/*.parquet`)
  assertSame(t, globbed.map(lineOf), archived, 'glob by DuckDB')
  assertColumns(t, globbed, archived, 'columns of the glob')
  assertSame(t, (await hyparquetRows(`${table}/data`)).map(lineOf), archived, 'glob by hyparquet', false)
  const { rows } = await readIcebergFiles(table)
  assertSame(
    t,
    rows.map(row => lineOf(foundRow(row))),
    archived,
    'Iceberg by icebird',
    false,
  )
}

t.test('every event comes out of every way as it was sent', async t => {
  const archive = await openArchive(t, 'directory')
  const byHand = withIds('by-hand', archivedEvents())
  await putObject(archive, objectOf([...byHand.values()]))
  await build(archive, archive.store)
  const env: Record<string, string> = { ...archive.settings, DATA_DIR: temporaryDirectory(t), PORT: '0' }
  const server = startProgram(t, path, {
    cwd: temporaryDirectory(t),
    env: { ...env, BATCH_EVENTS_MAX: '100', BODY_BYTES_MAX: '4MiB' },
  })
  const sent = await sendAll(t, await server.listening())
  t.match(await server.stop(), { code: 0 })

  const objects = await archivedObjects(configOf(archive.settings))
  const archived = new Map(objects.flatMap(({ lines }) => lines.map(line => [idOf(line), line] as const)))
  t.equal(archived.size, sent.size + byHand.size)
  for (const [id, line] of byHand) t.equal(archived.get(id), line)
  assertArchived(t, archived, sent)
  await assertAnswers(t, env, archived, 'before compaction')
  await run(t, ['compact', '--include-open', '--no-progress'], env)
  await assertTable(t, join(String(archive.settings.ARCHIVE_URL), 'frequency/table'), archived)
  await assertAnswers(t, env, archived, 'after compaction')
  const verified = await runProgram(t, path, ['verify', '--json'], { ...process.env, ...env })
  t.match(JSON.parse(verified.stdout), {
    events: archived.size,
    ids: archived.size,
    unreadable: { objects: 1, notJson: 0, withoutMessageId: 0 },
    table: { events: archived.size, missing: { files: 0 }, unknown: { files: 0 } },
  })
})
