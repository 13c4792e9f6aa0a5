/** Runs `frequency compact` of the built program, on a directory and on S3. killed-changes.test.ts kills it. */
import t, { type Test } from 'tap'
import { tableKeys } from '../../src/table/table-keys.ts'
import {
  build,
  bytesOf,
  damage,
  objectOf,
  openArchive,
  putObject,
  STORE_KINDS,
  type TestArchive,
} from '../helpers/archive-by-hand.ts'
import { globbedRows } from '../helpers/compact-helper.ts'
import { range, temporaryDirectory } from '../helpers/helper.ts'
import { until } from '../services/wait.ts'
import { buildProgram, type Run, runProgram, startProgram } from './program.ts'

const HOUR_MS = 3_600_000
const NOON_MS = Date.parse('2026-11-24T12:00:00.000Z')
const WAIT_MS_MAX = 60_000

const path = await buildProgram(t)

function run(t: Test, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Run> {
  return runProgram(t, path, args, { ...process.env, ...env })
}

async function count(t: Test, env: NodeJS.ProcessEnv, where = 'true'): Promise<number> {
  const sql = `select count(*)::int as n, count(distinct message_id)::int as ids from events where ${where}`
  const { code, stdout, stderr } = await run(t, ['query', sql, '--format=json'], env)
  t.match({ code, stderr }, { code: 0, stderr: '' })
  const [row] = JSON.parse(stdout) as { n: number; ids: number }[]
  t.equal(row?.n, row?.ids)
  return row?.n ?? Number.NaN
}

/** An archive of three hours with four events each. */
async function archiveOf(t: Test, kind: 'directory' | 's3'): Promise<TestArchive> {
  const archive = await openArchive(t, kind)
  for (const hour of range(3)) {
    const events = range(4).map(n =>
      JSON.stringify({
        event: n % 2 === 0 ? 'even' : 'odd',
        messageId: `m-${hour}-${n}`,
        properties: { n },
        receivedAt: new Date(NOON_MS + hour * HOUR_MS + n * 60_000).toISOString(),
      }),
    )
    const at = new Date(NOON_MS + hour * HOUR_MS).toISOString()
    await putObject(archive, objectOf(events), '.ndjson.gz', at)
  }
  await build(archive, archive.store)
  return archive
}

for (const kind of STORE_KINDS) {
  t.test(`hours that are over go into the table, and queries read them from there, on ${kind}`, async t => {
    const archive = await archiveOf(t, kind)
    const env = { ...archive.settings, DATA_DIR: temporaryDirectory(t) }
    t.equal(await count(t, env), 12)
    t.match(await run(t, ['compact'], env), { code: 0, stdout: /Added 3 files with 12 events/ })
    t.equal(await count(t, env), 12)
    t.equal(await count(t, env, "event = 'odd' and (properties->>'n') = '3'"), 3)
    t.match(await run(t, ['compact', '--json'], env), { code: 0, stdout: /"files":0/ })
    t.match(await run(t, ['verify'], env), {
      code: 0,
      stdout: /^(?![\s\S]*Other objects)[\s\S]*Files of the table +3[\s\S]*CLEAN/,
    })
  })
}

t.test('a server with TABLE=on does it by itself', async t => {
  const archive = await archiveOf(t, 'directory')
  const settings = { ...archive.settings, DATA_DIR: temporaryDirectory(t), TABLE: 'on', PORT: '0' }
  const server = startProgram(t, path, { cwd: temporaryDirectory(t), env: settings })
  await server.listening()
  const isThere = async () => (await globbedRows(archive.settings.ARCHIVE_URL as string)).length === 12
  await until('the table has all events', WAIT_MS_MAX, isThere)
  t.match(await server.stop(), { code: 0 })
})

t.test('a wrong TABLE_COLUMNS stops the start, and says what is right', async t => {
  const env = { DATA_DIR: temporaryDirectory(t), PORT: '0' }
  t.match(await run(t, ['serve', '--table-columns=properties.plan:money'], env), {
    code: 1,
    stdout: /TABLE_COLUMNS must be like properties.plan:string/,
  })
})

t.test('verify tells of files that are gone, cut short, or unknown', async t => {
  const archive = await archiveOf(t, 'directory')
  const env = { ...archive.settings, DATA_DIR: temporaryDirectory(t) }
  await run(t, ['compact'], env)
  const files: string[] = []
  for await (const key of archive.store.list(tableKeys(archive.prefix).data)) files.push(key)
  const [gone = '', cut = '', copied = ''] = files
  const bytes = await bytesOf(archive.store, copied)
  await archive.store.remove([gone])
  await damage(archive.store, cut, whole => whole.subarray(0, -1))
  await archive.store.replace(copied.replace('.parquet', '-2.parquet'), bytes)
  const { code, stdout } = await run(t, ['verify', '--json'], env)
  t.equal(code, 1)
  t.match(JSON.parse(stdout).table, {
    files: 3,
    missing: { files: 2, list: [gone, cut].toSorted() },
    unknown: { files: 1, list: [copied.replace('.parquet', '-2.parquet')] },
  })
  t.match(await run(t, ['query', 'select 1'], env), { code: 1, stderr: /of the table is gone/ })
})
