/** Hostile queries, events, names and damage, against objects and against a table. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { logKeys } from '../../src/log/log-keys.ts'
import { LogReader } from '../../src/log/log-reader.ts'
import { forEachAtOnce } from '../../src/process/for-each-at-once.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { tableKeys } from '../../src/table/table-keys.ts'
import {
  archivedEvent,
  archivedEvents,
  build,
  objectOf,
  putObject,
  type TestArchive,
} from '../helpers/archive-by-hand.ts'
import { configOf, range, temporaryDirectory } from '../helpers/helper.ts'
import { startServer } from '../helpers/s3-helper.ts'
import { buildProgram, type Run, runProgram } from './program.ts'

const DEPTH = 200_000

const path = await buildProgram(t)

interface Archive {
  readonly archive: TestArchive
  readonly env: NodeJS.ProcessEnv
}

function run(t: Test, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Run> {
  return runProgram(t, path, args, { ...process.env, ...env })
}

async function answerOf(t: Test, sql: string, env: NodeJS.ProcessEnv): Promise<unknown[]> {
  const { code, stdout, stderr } = await run(t, ['query', sql, '--format=json'], env)
  t.match({ code, stderr }, { code: 0, stderr: '' })
  return JSON.parse(stdout)
}

async function compact(t: Test, env: NodeJS.ProcessEnv): Promise<void> {
  t.match(await run(t, ['compact', '--include-open', '--no-progress'], env), { code: 0 })
}

async function keysOf({ store }: { readonly store: ObjectStore }, prefix: string): Promise<string[]> {
  const keys: string[] = []
  for await (const key of store.list(prefix)) keys.push(key)
  return keys
}

/** An archive at any place. */
async function archiveAt(
  t: Test,
  settings: Record<string, string>,
  objects: readonly (readonly string[])[],
): Promise<Archive> {
  const config = configOf(settings)
  const store = await openStore(config)
  t.teardown(() => store.close())
  const { prefix } = config.archive
  const keys = logKeys(prefix)
  const archive = { store, prefix, keys, reader: new LogReader(store, keys), settings }
  for (const events of objects) await putObject(archive, objectOf(events))
  await build(archive, store)
  return { archive, env: { DATA_DIR: temporaryDirectory(t), ...settings } }
}

/** An archive whose events are in the table. */
async function compactedArchive(t: Test, objects: readonly (readonly string[])[]): Promise<Archive> {
  const made = await archiveAt(t, { ARCHIVE_URL: temporaryDirectory(t) }, objects)
  await compact(t, made.env)
  return made
}

t.test('SQL can neither read the table by its path, nor write, nor read other files', async t => {
  const { archive, env } = await compactedArchive(t, [archivedEvents(3)])
  const target = join(temporaryDirectory(t), 'written')
  const root = String(archive.settings.ARCHIVE_URL)
  const glob = `${root}/frequency/table/data/**/*.parquet`
  const before = readdirSync(root, { recursive: true }).toSorted()
  const statements = [
    `select * from '${glob}'`,
    `select * from read_parquet('${glob}')`,
    `select * from parquet_metadata('${glob}')`,
    `select * from parquet_kv_metadata('${glob}')`,
    `select * from read_json('/etc/passwd')`,
    `select * from read_blob('/etc/passwd')`,
    `select * from sniff_csv('/etc/passwd')`,
    `select getenv('HOME')`,
    `select * from duckdb_secrets()`,
    `from enable_logging(storage='file', storage_path='${target}')`,
    `select * from (from enable_logging(storage='file', storage_path='${target}'))`,
    `EXPLAIN ANALYZE COPY (select * from events) TO '${target}'`,
    `COPY events TO '${root}/frequency/table/data/x.parquet'`,
    `EXPORT DATABASE '${target}'`,
    `ATTACH '${target}' AS other`,
    'INSTALL iceberg',
    'LOAD iceberg',
    `SET temp_directory = '${target}'`,
    `PRAGMA enable_profiling = 'json'`,
    `CHECKPOINT`,
    `delete from events`,
    `update events set event = 'x'`,
    `drop view events`,
    `create or replace temp view events as select 1`,
  ]
  const isRefused = async (sql: string): Promise<void> => {
    const { code, stdout } = await run(t, ['query', sql, '--format=csv'], env)
    t.match({ code, stdout }, { code: 1, stdout: '' }, sql)
    t.notOk(existsSync(target), sql)
  }
  await forEachAtOnce(statements, 3, isRefused)
  t.strictSame(readdirSync(root, { recursive: true }).toSorted(), before)
  t.strictSame(await answerOf(t, 'select count(*)::int as n from events', env), [{ n: 3 }])
})

t.test('functions of JSON take events that nest 200,000 deep, before and after compaction', async t => {
  const arrays = `${'['.repeat(DEPTH)}${']'.repeat(DEPTH)}`
  const objects = `${'{"a":'.repeat(DEPTH)}1${'}'.repeat(DEPTH)}`
  const at = '"receivedAt":"2026-11-24T13:05:07.123Z"'
  const events = [arrays, objects].flatMap((deep, n) => [
    `{"event":"deep","messageId":"a${n}","properties":{"deep":${deep}},"other":${deep},${at}}`,
    `{"event":"deep","messageId":"b${n}","context":${deep},"traits":${deep},${at}}`,
  ])
  const { env } = await archiveAt(t, { ARCHIVE_URL: temporaryDirectory(t) }, [events])
  const columns = ['properties', 'context', 'traits', 'extra']
  const calls = columns.flatMap(name => [
    `length(cast(json_merge_patch(coalesce(${name}, '{}'), '{"b":1}') as varchar))`,
    `json_structure(${name})`,
    `json_keys(${name})`,
    `json_valid(${name})`,
    `json_extract(${name}, '$.deep')`,
    `length(cast(json_transform(${name}, '"JSON"') as varchar))`,
    `json_array_length(${name})`,
  ])
  const sql = `select count(*)::int as n, ${calls.map(call => `count(${call})`).join(', ')} from events`
  for (const when of ['objects', 'table']) {
    if (when === 'table') await compact(t, env)
    t.match(await answerOf(t, sql, env), [{ n: 4 }], when)
    const [row] = (await answerOf(t, "select raw from events where message_id = 'a1'", env)) as {
      raw: string
    }[]
    t.equal(row?.raw, events[2], when)
  }
})

t.test('paths, keys and names with quotes and signs of patterns', async t => {
  const odd = `it's "q" [a-z] {x,y} *? %20 \\ é`
  const root = join(temporaryDirectory(t), odd)
  // Short: a lock's path is limited.
  const DATA_DIR = join(temporaryDirectory(t), `'"[a]{b}*?%`)
  mkdirSync(root)
  const name = `o'Brien "x" \\ ; -- \u2028`
  const events = [name, "'", '"', '*', 'plain'].map((each, n) =>
    archivedEvent({ event: each, messageId: `${each}-${n}`, user_id: each, properties: { [each]: each, n } }),
  )
  const { env } = await archiveAt(t, { ARCHIVE_URL: root, DATA_DIR }, [events])
  const sql = `select event, user_id, properties from events where event = ${quoted(name)}`
  const wanted = [{ event: name, user_id: name, properties: { [name]: name, n: 0 } }]
  t.strictSame(await answerOf(t, sql, env), wanted, 'objects')
  await compact(t, env)
  t.strictSame(await answerOf(t, sql, env), wanted, 'table')
  const erased = await run(t, ['erase', `--where=user_id = ${quoted(name)}`, '--yes', '--no-progress'], env)
  t.match(erased, { code: 0, stdout: /1 object and 1 file/ })
  t.strictSame(await answerOf(t, sql, env), [], 'erased')
  t.strictSame(await answerOf(t, 'select count(*)::int as n from events', env), [{ n: 5 }])
  const file = join(root, `answer ${name}.csv`)
  t.match(await run(t, ['query', 'select 1 as a', '--format=csv', `--output=${file}`], env), { code: 0 })
  t.equal(readFileSync(file, 'utf8'), 'a\n1\n')
  t.match(await run(t, ['verify'], env), { code: 0 })
})

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

t.test(
  'a file of the table that was cut short, changed or removed is told, and no answer is given',
  async t => {
    const changes: [says: RegExp, change: (bytes: Buffer) => Buffer | undefined][] = [
      [/has \d+ bytes, and the table's log says/, bytes => bytes.subarray(0, bytes.length - 1)],
      [/has \d+ bytes, and the table's log says/, bytes => bytes.subarray(0, bytes.length / 2)],
      [/has 0 bytes, and the table's log says/, () => Buffer.alloc(0)],
      [/of the table is gone/, () => undefined],
    ]
    for (const [says, change] of changes) {
      const { archive, env } = await compactedArchive(t, [archivedEvents(100)])
      const [key = ''] = await keysOf(archive, tableKeys(archive.prefix).data)
      const file = join(String(archive.settings.ARCHIVE_URL), key)
      const bytes = change(readFileSync(file))
      if (bytes === undefined) rmSync(file)
      else writeFileSync(file, bytes)
      const { code, stdout, stderr } = await run(
        t,
        ['query', 'select count(*) from events', '--format=csv'],
        env,
      )
      t.match({ code, stdout }, { code: 1, stdout: '' }, stderr)
      t.match(stderr, says)
      t.match(stderr, key)
    }
  },
)

for (const isCompacted of [false, true])
  t.test(
    `${isCompacted ? 'a file of the table' : 'an object'} that is removed while others are read is told`,
    async t => {
      const server = await startServer(t)
      const settings = { ARCHIVE_URL: 's3://bucket/p', S3_FORCE_PATH_STYLE: 'true' }
      const { archive, env } = await archiveAt(
        t,
        settings,
        range(8).map(() => archivedEvents(5)),
      )
      if (isCompacted) await compact(t, env)
      const keys = await keysOf(
        archive,
        isCompacted ? tableKeys(archive.prefix).data : `${archive.prefix}/dt=`,
      )
      const gone = keys.at(-1) ?? ''
      server.fault(({ key }) => (key === gone ? { status: 404 } : undefined))
      const sql = 'select count(*) from events'
      const { code, stdout, stderr } = await run(t, ['query', sql, '--format=csv'], env)
      t.match({ code, stdout }, { code: 1, stdout: '' }, stderr)
      t.match(stderr, gone)
      t.match(stderr, /is gone/)
    },
  )
