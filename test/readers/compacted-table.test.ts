/** Other programs read a table that `frequency compact` has made: they count the same, before and after an erasure. */
import t, { type Test } from 'tap'
import { type Event, foreignEvent } from '../../src/event/event.ts'
import { buildProgram, runProgram } from '../bin/program.ts'
import {
  build,
  objectOf,
  openArchive,
  putObject,
  startArchiver,
  type TestArchive,
} from '../helpers/archive-by-hand.ts'
import { range, temporaryDirectory } from '../helpers/helper.ts'
import { objectKeysOf } from '../helpers/store-helper.ts'
import { type Found, HOURS, isHere, READERS } from './readers.ts'

const HOUR_MS = 3_600_000
const START_MS = Date.parse(`${HOURS.from}Z`) - HOUR_MS
const HOURS_OF_TABLE = 4
const EVENTS_AN_HOUR = 50
const USERS = 10
/** An object of the archiver of tests has ten. */
const LATE_EVENTS = 20
const ERASED = 'user-3'
const TYPED = '--table-columns=plan:string,amount:double'

interface TestEvent {
  readonly messageId: string
  readonly user_id: string
  readonly plan: string
  readonly amount: number
  readonly receivedAt?: string
}

const path = await buildProgram(t)

function eventOf(id: string, n: number, ms: number | undefined): TestEvent {
  return {
    messageId: id,
    user_id: `user-${n % USERS}`,
    plan: n % 2 === 0 ? 'free' : 'pro',
    amount: n + 0.5,
    ...(ms !== undefined && { receivedAt: new Date(ms + n * 1_000).toISOString() }),
  }
}

async function put(archive: TestArchive, events: readonly TestEvent[], ms: number): Promise<void> {
  const lines = events.map(event => JSON.stringify({ event: 'counted', ...event }))
  await putObject(archive, objectOf(lines), '.ndjson.gz', new Date(ms).toISOString())
}

/** What a table has of these events. Members of columns that were added later are in the files of `typed` alone. */
function expectedOf(all: readonly TestEvent[], typed: readonly TestEvent[]): Found {
  const isInHours = ({ receivedAt }: TestEvent): boolean =>
    receivedAt !== undefined &&
    receivedAt >= `${HOURS.from.replace(' ', 'T')}` &&
    receivedAt < `${HOURS.to.replace(' ', 'T')}`
  return {
    rows: all.length,
    messageIds: all.length,
    pro: typed.filter(({ plan }) => plan === 'pro').length,
    amountSum: typed.reduce((sum, { amount }) => sum + amount, 0),
    withoutTime: all.filter(({ receivedAt }) => receivedAt === undefined).length,
    inHours: all.filter(isInHours).length,
  }
}

async function run(t: Test, env: NodeJS.ProcessEnv, ...args: string[]): Promise<void> {
  const { code, stdout, stderr } = await runProgram(t, path, args, { ...process.env, ...env })
  t.equal(code, 0, `${args[0]}: ${stdout}${stderr}`)
}

async function eachFinds(t: Test, table: string, expected: Found, when: string): Promise<void> {
  for (const reader of READERS)
    if (await isHere(reader, t.comment)) t.same(await reader.find(table), expected, `${reader.name}, ${when}`)
}

/** Archives events that came later, by a running archiver. They keep the times that they have. */
async function archiveLate(t: Test, archive: TestArchive, events: readonly TestEvent[]): Promise<void> {
  const archiver = await startArchiver(t, archive)
  const before = (await objectKeysOf(archive.store)).length
  const foreign = events.map(event =>
    foreignEvent(Buffer.from(JSON.stringify({ event: 'late', ...event })), new Date()),
  )
  await archiver.publish(foreign as Event[])
  await archiver.holds(before + LATE_EVENTS / 10)
}

t.test('every program counts the same, before and after an erasure', async t => {
  const archive = await openArchive(t, 'directory')
  const env = { ...archive.settings, DATA_DIR: temporaryDirectory(t) }
  const untimed = range(2).map(n => eventOf(`untimed-${n}`, n, undefined))
  const hours = range(HOURS_OF_TABLE).map(hour =>
    range(EVENTS_AN_HOUR).map(n => eventOf(`m-${hour}-${n}`, n, START_MS + hour * HOUR_MS)),
  )
  await put(archive, untimed, START_MS)
  for (const [hour, events] of hours.entries()) await put(archive, events, START_MS + hour * HOUR_MS)
  await build(archive, archive.store)
  await run(t, env, 'compact', '--no-progress')

  const late = range(LATE_EVENTS).map(n => eventOf(`late-${n}`, n, START_MS + HOUR_MS))
  await archiveLate(t, archive, late)
  await run(t, env, 'compact', '--no-progress', TYPED)
  const all = [...untimed, ...hours.flat(), ...late]
  const table = `${archive.settings.ARCHIVE_URL}/frequency/table`
  await eachFinds(t, table, expectedOf(all, late), 'before')

  await run(t, env, 'erase', `--where=user_id = '${ERASED}'`, '--yes', '--no-progress')
  const left = late.filter(({ user_id }) => user_id !== ERASED)
  await eachFinds(t, table, expectedOf(all, left), 'after')
})
