/** Commands that change table and objects, several at once and beside a server, are killed again and again. */
import { randomInt } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as zlib from 'node:zlib'
import t, { type Test } from 'tap'
import { build, objectOf, openArchive, putObject } from '../helpers/archive-by-hand.ts'
import { globbedRows } from '../helpers/compact-helper.ts'
import { configOf, range, temporaryDirectory } from '../helpers/helper.ts'
import { readIcebergFiles } from '../helpers/iceberg-reader.ts'
import { until } from '../services/wait.ts'
import { archivedObjects } from './archived.ts'
import { buildProgram, type Run, runProgram, startProgram } from './program.ts'

const CLIENTS = 2
const EVENTS_A_REQUEST = 20
/** Between the requests of a client. */
const PAUSE_MS = 25
const ERASED = 'forget-me@example.com'
const COMPACT = ['compact', '--include-open', '--no-progress']
const ERASE = ['erase', `--where=user_id = '${ERASED}'`, '--yes', '--no-progress']
/** Where a step leaves a file, and the commands that are killed then. */
const STEPS: readonly (readonly [step: string, commands: readonly (readonly string[])[]])[] = [
  ['_frequency/table/staged', [COMPACT, COMPACT]],
  ['table/data', [COMPACT, ERASE]],
  ['_frequency/erasures', [ERASE, COMPACT]],
  ['_frequency/table/log', [COMPACT, COMPACT]],
  ['table/metadata', [COMPACT, ERASE]],
  ['table/rewritten', [ERASE, ERASE]],
  ['table/data', [COMPACT, COMPACT]],
]
/** The same for `expire`, with a retention in days for each. */
const EXPIRE_STEPS: readonly (readonly [
  step: string,
  days: number,
  beside: readonly (readonly string[])[],
])[] = [
  ['_frequency/log', 350, []],
  ['_frequency/table/log', 300, [COMPACT]],
  ['table/metadata', 250, []],
  ['table/data', 200, [ERASE]],
  ['', 150, []],
  ['_frequency/log', 100, [COMPACT]],
]
const DAYS = [390, 340, 310, 290, 260, 240, 210, 190, 160, 140, 110, 90, 60, 20, 3]
const DAY_MS = 24 * 60 * 60 * 1000
const WAIT_MS_MAX = 30_000
/** A claim of a killed process is void after 15 seconds. */
const CLAIM_AGE_S = 60

const path = await buildProgram(t)

/** Posts batches until the server does not take one any more. A tenth of the events are of the user who is erased. */
async function postUntilStopped(url: string, client: number): Promise<void> {
  for (let n = 0; ; n++) {
    const events = range(EVENTS_A_REQUEST).map(each => ({
      event: `event ${each % 3}`,
      messageId: `m-${client}-${n}-${each}`,
      user_id: each % 10 === 0 ? ERASED : `user-${each}`,
      properties: { n, email: each % 10 === 0 ? ERASED : null },
    }))
    const init = {
      method: 'POST',
      body: JSON.stringify(events),
      headers: { 'content-type': 'application/json' },
    }
    const response = await fetch(`${url}/api/t/batch`, init).catch(() => undefined)
    await response?.text().catch(() => '')
    if (response?.status !== 200) return
    await sleep(PAUSE_MS)
  }
}

/** Changes with each file that comes into a directory, or goes. Cheap, as it is asked each millisecond. */
function stateOf(directory: string): string {
  if (!existsSync(directory)) return ''
  return readdirSync(directory, { recursive: true }).join()
}

/** Starts the commands together, and kills them when one has taken the step, or some milliseconds later. */
async function startAndKill(
  t: Test,
  commands: readonly (readonly string[])[],
  env: NodeJS.ProcessEnv,
  step: string,
): Promise<void> {
  const before = stateOf(step)
  const running = commands.map(args =>
    startProgram(t, path, { args, cwd: temporaryDirectory(t), env: { ...process.env, ...env } }),
  )
  while (stateOf(step) === before && running.some(({ hasEnded }) => !hasEnded)) await sleep(1)
  // Not a wait for luck: each moment after the step is a case.
  await sleep(randomInt(0, 15))
  await Promise.all(running.map(program => program.kill('SIGKILL').ended))
}

async function globbedIds(archive: string): Promise<string[]> {
  return (await globbedRows(archive)).map(([id]) => String(id))
}

async function icebergRows(archive: string): Promise<readonly Record<string, unknown>[]> {
  return (await readIcebergFiles(join(archive, 'frequency/table'))).rows
}

/** Each event at most once, and none that was there is gone. */
function assertGrown(t: Test, before: readonly string[], after: readonly string[], what: string): void {
  const ids = new Set(after)
  t.equal(ids.size, after.length, `${what} has no event twice`)
  t.same(
    before.filter(id => !ids.has(id)),
    [],
    `${what} has what it had`,
  )
}

async function run(t: Test, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Run> {
  const ended = await runProgram(t, path, args, { ...process.env, ...env })
  t.equal(ended.code, 0, `${args[0]}: ${ended.stdout}${ended.stderr}`)
  return ended
}

async function queried(t: Test, env: NodeJS.ProcessEnv, select: string): Promise<string[]> {
  const { stdout } = await run(t, ['query', `select ${select} from events`, '--format=csv'], env)
  return stdout.split('\n').slice(1, -1)
}

/** Makes the claims of killed processes as old as they are after a minute. */
function ageClaims(archive: string): void {
  const directory = join(archive, 'frequency/_frequency/table/claims')
  if (!existsSync(directory)) return
  for (const name of readdirSync(directory)) {
    const at = Date.now() / 1_000 - CLAIM_AGE_S
    utimesSync(join(directory, name), at, at)
  }
}

/** Files of an archive that name the erased user. Of Parquet only what is not compressed is seen. */
function filesNaming(archive: string): string[] {
  const entries = readdirSync(archive, { recursive: true, withFileTypes: true })
  return entries
    .filter(entry => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter(file => {
      const bytes = readFileSync(file)
      return (file.endsWith('.gz') ? zlib.gunzipSync(bytes) : bytes).includes(ERASED)
    })
}

async function assertErased(t: Test, archive: string, env: NodeJS.ProcessEnv): Promise<void> {
  t.same(filesNaming(archive), [])
  const isErased = `(user_id = '${ERASED}' or coalesce(properties->>'email', '') <> '')::int`
  t.same(
    (await queried(t, env, isErased)).filter(each => each === '1'),
    [],
  )
  const named = (await globbedRows(archive, 'user_id, properties, extra, raw')).filter(row =>
    row.join().includes(ERASED),
  )
  t.same(named, [], 'nor does the table')
  t.notMatch(JSON.stringify(await icebergRows(archive)), ERASED)
  const own = join(archive, 'frequency/_frequency/table/staged')
  t.same(existsSync(own) ? readdirSync(own) : [], [], 'nothing that killed commands staged is left')
}

t.test('glob, query, Iceberg and verify agree after kills of compact and erase', async t => {
  const archive = temporaryDirectory(t)
  const directory = temporaryDirectory(t)
  const settings = { ARCHIVE_URL: archive, BATCH_EVENTS_MAX: '200', BATCH_AGE_MS_MAX: '200' }
  const server = startProgram(t, path, {
    cwd: directory,
    env: { ...settings, PORT: '0', DATA_DIR: directory },
  })
  const url = await server.listening()
  const clients = Promise.all(range(CLIENTS).map(client => postUntilStopped(url, client)))
  const env = { ARCHIVE_URL: archive, DATA_DIR: temporaryDirectory(t) }
  await until('events are archived', WAIT_MS_MAX, () => existsSync(join(archive, 'frequency/_frequency/log')))
  await until('events are in the table', WAIT_MS_MAX, async () => {
    await run(t, COMPACT, env)
    return (await globbedIds(archive)).length > 0
  })
  let globbed: string[] = []
  let inIceberg: string[] = []
  for (const [step, commands] of STEPS) {
    ageClaims(archive)
    await startAndKill(t, commands, env, join(archive, 'frequency', step))
    const now = await globbedIds(archive)
    assertGrown(t, globbed, now, 'the glob')
    globbed = now
    const rows = (await icebergRows(archive)).map(row => String(row.message_id))
    assertGrown(t, inIceberg, rows, 'Iceberg')
    inIceberg = rows
  }
  t.match(await server.stop(), { code: 0 })
  await clients

  const ids = (await queried(t, env, 'message_id')).toSorted()
  await run(t, ERASE, env)
  ageClaims(archive)
  t.match(JSON.parse((await run(t, [...COMPACT, '--json'], env)).stdout), { skipped: 0, failed: 0 })
  const objects = await archivedObjects(configOf({ ARCHIVE_URL: archive }))
  const archived = objects.flatMap(({ lines }) => lines.map(line => JSON.parse(line).messageId)).toSorted()
  t.ok(archived.length > 100)
  t.strictSame(ids, archived, 'query, before the commands complete')
  t.strictSame((await queried(t, env, 'message_id')).toSorted(), archived, 'query')
  t.strictSame((await globbedIds(archive)).toSorted(), archived, 'glob')
  t.strictSame((await icebergRows(archive)).map(row => row.message_id).toSorted(), archived, 'Iceberg')
  await assertErased(t, archive, env)
  await run(t, ['verify'], env)
})

t.test('what stays is in glob, query and Iceberg once, after kills of expire', async t => {
  const archive = await openArchive(t, 'directory')
  const directory = archive.settings.ARCHIVE_URL as string
  const daysOf = new Map<string, number>()
  for (const days of DAYS) {
    const receivedAt = new Date(Date.now() - days * DAY_MS).toISOString()
    const ids = range(EVENTS_A_REQUEST).map(n => `day-${days}-${n}`)
    for (const id of ids) daysOf.set(id, days)
    const events = ids.map(messageId =>
      JSON.stringify({ event: 'counted', messageId, receivedAt, user_id: ERASED }),
    )
    await putObject(archive, objectOf(events), '.ndjson.gz', receivedAt)
  }
  await build(archive, archive.store)
  const env = { ...archive.settings, DATA_DIR: temporaryDirectory(t) }
  await run(t, COMPACT, env)
  const stayed = (ids: readonly string[], days: number): string[] =>
    ids.filter(id => (daysOf.get(id) as number) < days).toSorted()
  for (const [step, days, beside] of EXPIRE_STEPS) {
    ageClaims(directory)
    const expire = [
      'expire',
      `--retention=${days}d`,
      `--raw-retention=${days - 60}d`,
      '--yes',
      '--no-progress',
    ]
    await startAndKill(t, [expire, expire, ...beside], env, join(directory, 'frequency', step))
    const expected = stayed([...daysOf.keys()], days)
    t.strictSame(stayed(await globbedIds(directory), days), expected, `glob, ${days} days`)
    t.strictSame(stayed(await queried(t, env, 'message_id'), days), expected, `query, ${days} days`)
    const inIceberg = (await icebergRows(directory)).map(row => String(row.message_id))
    t.strictSame(stayed(inIceberg, days), expected, `Iceberg, ${days} days`)
  }
  const last = 100
  await run(
    t,
    ['expire', `--retention=${last}d`, `--raw-retention=${last - 60}d`, '--yes', '--no-progress'],
    env,
  )
  await run(t, ERASE, env)
  const expected = stayed([...daysOf.keys()], last)
  t.strictSame((await globbedIds(directory)).toSorted(), expected, 'glob')
  t.strictSame((await queried(t, env, 'message_id')).toSorted(), expected, 'query')
  t.strictSame((await icebergRows(directory)).map(row => row.message_id).toSorted(), expected, 'Iceberg')
  const objects = await archivedObjects(configOf(archive.settings))
  const raw = objects.flatMap(({ lines }) => lines.map(line => JSON.parse(line).messageId)).toSorted()
  t.strictSame(raw, stayed([...daysOf.keys()], last - 60), 'objects')
  await assertErased(t, directory, env)
  await run(t, ['verify'], env)
})
