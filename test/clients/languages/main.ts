/**
 * Runs Segment's client libraries of other languages, unmodified, against the built program, and compares the calls
 * that they report as sent with the archive. Does the same with the log shipper syslog-ng:
 *
 *     npm run test:clients -- [LANGUAGE…] [syslog-ng]
 *
 * Installs missing programs: languages and syslog-ng from Debian, as root, and libraries below
 * node_modules/.cache/clients. Skips a language that cannot be installed; the summary at the end says so.
 */
import t, { type Test } from 'tap'
import { buildProgram } from '../../bin/program.ts'
import { range } from '../../helpers/helper.ts'
import { until } from '../../services/wait.ts'
import { type Archived, hasEachOnce, hasNoKey, onlyOne, parsed } from '../believed.ts'
import { Client } from './client.ts'
import { type Front, openFront, type Seen } from './front.ts'
import { type Command, type Language, NotHere, run } from './language.ts'
import { LANGUAGES } from './languages.ts'
import { serve, WRITE_KEY } from './server.ts'
import { prepareShipper, shipsLines } from './syslog-ng.ts'

const TEST_MS_MAX = 900_000
const SENDING_MS_MAX = 120_000
/** Every library retries for longer: analytics-ruby may give up after 3.7 s, analytics-php after 12.7 s. */
const REFUSED_MS = 3_000
/** Tolerance for the delay of a request by the library, or of an answer in the log of the front. */
const SILENCE_MS_OFF = 2_000
const HAPPENED = Date.parse('2026-01-02T03:04:05Z')

interface Failing {
  readonly language: Language
  readonly command: Command
  readonly path: string
  readonly status: number
  arrange(front: Front): void
}

function usersOf(archived: readonly Archived[]): string[] {
  return archived.map(({ userId }) => String(userId))
}

/** Compares by user, because each call has its own. So it also finds a library that gives a resent call another id. */
function hasEachUserOnce(t: Test, archived: readonly Archived[], users: readonly string[]): void {
  const byUser = archived.map(event => ({ ...event, messageId: String(event.userId) }))
  hasEachOnce(t, byUser, users)
}

async function makesEveryCall(t: Test, language: Language, command: Command, path: string): Promise<string> {
  const server = await serve(t, path)
  const front = await openFront(t, server.url, language.trusting !== undefined)
  const client = new Client(t, await trusted(language, command, front.certificateFile), ['calls'], {
    url: front.url,
    writeKey: WRITE_KEY,
    isZipped: false,
  })
  await client.ended()
  const users = language.hasNoPage ? ['1', '2', '4', '5', '6'] : ['1', '2', '3', '4', '5', '6']
  t.strictSame(client.sent.sort(), users)
  t.strictSame([...new Set(front.seen.map(({ status }) => status))], [200])

  const lines = await server.archivedLines()
  const archived = parsed(lines)
  t.strictSame(usersOf(archived).sort(), users)
  hasNoKey(t, lines, WRITE_KEY)
  const called = { source: 'backend', messageId: String, context: { library: { name: String } } }
  const { context, ...identify } = onlyOne(t, archived, 'identify')
  t.match({ ...identify, context }, { ...called, userId: '1' })
  t.match(language.hasTraitsInContext ? context : identify, { traits: { plan: 'pro' } })
  t.match(onlyOne(t, archived, 'screen'), {
    ...called,
    userId: '4',
    name: 'Home',
    properties: { dark: true },
  })
  t.match(onlyOne(t, archived, 'group'), { ...called, userId: '5', groupId: 'g1', traits: { name: 'Acme' } })
  t.match(onlyOne(t, archived, 'alias'), { ...called, userId: '6', previousId: 'a1' })
  if (!language.hasNoPage) {
    const page = { ...called, userId: '3', name: 'Start', properties: { path: '/' } }
    t.match(onlyOne(t, archived, 'page'), page)
  }
  const track = onlyOne(t, archived, 'track')
  t.match(track, { ...called, userId: '2', event: 'Signed Up', properties: { seats: 3 } })
  t.equal(Date.parse(String(track.originalTimestamp ?? track.timestamp)), HAPPENED)
  t.notOk(track.timestampSuspect, 'its time is not suspect')
  const posted = front.seen.filter(({ method }) => method === 'POST').map(each => each.path)
  return `${users.length} calls to ${[...new Set(posted)].join(', ')}`
}

async function sendsBatches(t: Test, language: Language, command: Command, path: string): Promise<string> {
  const server = await serve(t, path)
  const front = await openFront(t, server.url, language.trusting !== undefined)
  const args = ['send', '300', '50', '0']
  const client = new Client(t, await trusted(language, command, front.certificateFile), args, {
    url: front.url,
    writeKey: WRITE_KEY,
    isZipped: language.gzip !== undefined,
  })
  client.goOn()
  await client.ended()
  t.equal(client.sent.length, 300)
  const posts = front.seen.filter(({ method }) => method === 'POST')
  t.ok(posts.length < 30, 'they came in batches')
  t.ok(posts.every(({ isZipped }) => isZipped === (language.gzip !== undefined)))

  const archived = parsed(await server.archivedLines())
  t.equal(archived.length, 300)
  hasEachUserOnce(t, archived, client.sent)
  const zipped = language.gzip === undefined ? '' : `, gzipped by ${language.gzip}`
  return `300 events in ${posts.length} requests${zipped}`
}

/**
 * Sends 100 events through a front that fails as set by `arrange`. Each event must be archived once.
 *
 * @param status of the front's failed answers
 * @returns the number of these answers, and notes about the library for the summary
 */
async function sendsThroughFailures(
  t: Test,
  { language, command, path, arrange, status }: Failing,
): Promise<{ failed: number; notes: string }> {
  const server = await serve(t, path)
  const front = await openFront(t, server.url, language.trusting !== undefined)
  arrange(front)
  const args = ['send', '100', '10', '0']
  const client = new Client(t, await trusted(language, command, front.certificateFile), args, {
    url: front.url,
    writeKey: WRITE_KEY,
    isZipped: false,
  })
  client.goOn()
  await client.ended()
  t.strictSame(client.lost, [], 'the library gives up no call')
  t.equal(client.sent.length, 100)
  const failed = front.seen.filter(each => each.status === status).length
  t.ok(failed > 0, 'answers failed')
  const notes = [...silenceOf(t, language, front.seen), ...client.notes]

  const archived = parsed(await server.archivedLines())
  t.equal(archived.length, 100)
  hasEachUserOnce(t, archived, client.sent)
  return { failed, notes: notes.map(note => `, ${note}`).join('') }
}

/** Checks that a library with `silenceMs` sends no request for that time after a failure. @returns a note about it */
function silenceOf(t: Test, { silenceMs }: Language, seen: readonly Seen[]): string[] {
  if (silenceMs === undefined) return []
  const [min, max] = silenceMs
  const posts = seen.filter(({ method }) => method === 'POST')
  const silences = posts.flatMap(({ status, answeredAt }, index) => {
    const next = posts[index + 1]
    return status >= 500 && next ? [next.cameAt - answeredAt] : []
  })
  const note = `the library itself sends nothing for ${min / 1000} to ${max / 1000} s after a failure`
  t.ok(silences.length > 0, 'it was silent')
  const others = silences.filter(ms => ms < min - SILENCE_MS_OFF || ms > max + SILENCE_MS_OFF)
  t.strictSame(others, [], note)
  return [note]
}

async function sendsAgain(t: Test, language: Language, command: Command, path: string): Promise<string> {
  const arrange = (front: Front) => front.loseAnswers(language.silenceMs === undefined ? 5 : 2)
  const { failed, notes } = await sendsThroughFailures(t, { language, command, path, arrange, status: 502 })
  return `${failed} batches with lost answers sent again, archived once${notes}`
}

async function outlivesRefusals(
  t: Test,
  language: Language,
  command: Command,
  path: string,
): Promise<string> {
  const arrange = (front: Front) => front.refuse(REFUSED_MS)
  const { failed, notes } = await sendsThroughFailures(t, { language, command, path, arrange, status: 503 })
  return `${failed} times 503 in ${REFUSED_MS / 1000} s, then all archived once${notes}`
}

async function outlivesAKill(t: Test, language: Language, command: Command, path: string): Promise<string> {
  const server = await serve(t, path)
  // Without TLS the client sends directly to the server.
  const front = language.trusting && (await openFront(t, server.url, true))
  const args = ['send', '400', '10', String(language.pauseMs)]
  const client = new Client(t, await trusted(language, command, front?.certificateFile), args, {
    url: front?.url ?? server.url,
    writeKey: WRITE_KEY,
    isZipped: false,
  })
  await until('some are sent', SENDING_MS_MAX, () => client.sent.length >= 100)
  const before = client.sent.length
  const restarted = server.kill().then(() => server.start())
  client.goOn()
  await restarted
  await client.ended()

  const { sent, lost } = client
  t.ok(sent.length > before + 50, 'the library went on afterwards')
  t.equal(sent.length + lost.length, 400, 'the library reports the result of each call')
  const archived = parsed(await server.archivedLines())
  hasEachUserOnce(t, archived, sent)
  const given = new Set(range(400).map(n => String(n + 1)))
  t.strictSame(
    usersOf(archived).filter(user => !given.has(user)),
    [],
    'no other event is archived',
  )
  const reasons = [...new Set(lost.map(({ reason }) => reason))].join('; ')
  const dropped = lost.length === 0 ? '' : `, ${lost.length} given up by the library (${reasons})`
  const notes = client.notes.map(note => `, ${note}`).join('')
  return `a kill after ${before}: ${sent.length} of 400 reported as sent and archived once${dropped}${notes}`
}

async function trusted(language: Language, command: Command, certificateFile?: string): Promise<Command> {
  if (certificateFile === undefined) return command
  return (await language.trusting?.(command, certificateFile)) ?? command
}

/** @returns NotHere in place of throwing it */
async function preparedOr<T>(prepare: () => Promise<T>): Promise<T | NotHere> {
  try {
    return await prepare()
  } catch (err) {
    if (err instanceof NotHere) return err
    throw err
  }
}

t.setTimeout(TEST_MS_MAX * (LANGUAGES.length + 1))
const wanted = process.argv.slice(2).map(name => name.toLowerCase())
function isWanted(name: string): boolean {
  return wanted.length === 0 || wanted.some(start => name.toLowerCase().startsWith(start))
}

const path = await buildProgram(t)
const summary: string[] = []
for (const language of LANGUAGES) {
  if (!isWanted(language.name)) continue
  await t.test(language.name, { timeout: TEST_MS_MAX }, async t => {
    const command = await preparedOr(() => language.prepare())
    if (command instanceof NotHere) {
      summary.push(`${language.name} is not here: not run (${command.message})`)
      t.comment(`${language.name} is not here: not run`)
      return
    }
    const did: string[] = []
    await t.test('every call', async t => {
      did.push(await makesEveryCall(t, language, command, path))
    })
    await t.test('batches', async t => {
      did.push(await sendsBatches(t, language, command, path))
    })
    await t.test('lost answers', async t => {
      did.push(await sendsAgain(t, language, command, path))
    })
    await t.test('an outage with 503', async t => {
      did.push(await outlivesRefusals(t, language, command, path))
    })
    await t.test('a server that is killed and started again', async t => {
      did.push(await outlivesAKill(t, language, command, path))
    })
    const version = await run({ ...command, args: [...command.args, 'version'] })
    summary.push(`${version}: ${t.passing() ? did.join('; ') : 'failed'}`)
  })
}
if (isWanted('syslog-ng')) {
  await t.test('syslog-ng', { timeout: TEST_MS_MAX }, async t => {
    const version = await preparedOr(prepareShipper)
    if (version instanceof NotHere) {
      summary.push(`syslog-ng is not here: not run (${version.message})`)
      t.comment('syslog-ng is not here: not run')
      return
    }
    const did = await shipsLines(t, path)
    summary.push(`${version}: ${t.passing() ? did : 'failed'}`)
  })
}
t.teardown(() => process.stderr.write(`\n${summary.join('\n')}\n`))
