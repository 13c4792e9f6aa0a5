/** Runs `frequency erase` of the built program, on a directory and on an S3 server, beside a server that archives. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  archivedEvent,
  build,
  objectOf,
  openArchive,
  putObject,
  STORE_KINDS,
  type TestArchive,
} from '../helpers/archive-by-hand.ts'
import { keysWith } from '../helpers/erase-helper.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { post } from '../helpers/post.ts'
import type { Program } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { buildProgram, type Run, runProgram, startProgram } from './program.ts'

const WAIT_MS_MAX = 30_000
const USER = 'user-7f3a'
const SECRET = 'secret-91bc'
const TEXTS = [USER, SECRET]
const OF_USER = { user_id: USER, properties: { note: SECRET } }

const path = await buildProgram(t)

function envOf(t: Test, { settings }: TestArchive): NodeJS.ProcessEnv {
  return { ...process.env, ...settings, DATA_DIR: temporaryDirectory(t), BATCH_AGE_MS_MAX: '100ms' }
}

async function served(t: Test, env: NodeJS.ProcessEnv): Promise<Program> {
  const program = startProgram(t, path, {
    cwd: temporaryDirectory(t),
    args: ['serve'],
    env: { ...env, PORT: '0', LOG_LEVEL: 'warn' },
  })
  await program.listening()
  return program
}

async function send(program: Program, event: Record<string, unknown>): Promise<void> {
  const body = JSON.stringify({ event: 'counted', ...event })
  const status = await post(`${await program.listening()}/api/t`, body, { contentType: 'application/json' })
  if (status !== 200) throw new Error(`An event was answered with ${status}`)
}

/** Everything in files below a directory. */
function bytesBelow(directory: string): string {
  const paths = readdirSync(directory, { recursive: true }).map(name => join(directory, String(name)))
  return paths.flatMap(each => (statSync(each).isFile() ? readFileSync(each, 'latin1') : [])).join('\n')
}

interface Ledger {
  readonly verdict: string
  readonly accepted: number
  readonly archived: number
  readonly suppressed: number
}

async function ledgerOf(t: Test, program: Program): Promise<Ledger> {
  const args = ['status', '--json', '--url', await program.listening()]
  return JSON.parse((await runProgram(t, path, args, process.env)).stdout).ledger
}

for (const kind of STORE_KINDS) {
  t.test(`nothing of a user is left, and counts stay, on ${kind}`, async t => {
    const archive = await openArchive(t, kind)
    await putObject(archive, objectOf([archivedEvent(), archivedEvent({ ...OF_USER, messageId: 'old' })]))
    await putObject(archive, objectOf([archivedEvent()]))
    await build(archive, archive.store)
    const env = envOf(t, archive)
    const run = (...args: string[]): Promise<Run> => runProgram(t, path, args, env)
    t.match(await run('compact'), { code: 0 })

    const serverEnv = envOf(t, archive)
    let program = await served(t, serverEnv)
    const holds = (count: number) =>
      until(`${count} are settled`, WAIT_MS_MAX, async () => (await ledgerOf(t, program)).archived === count)
    await send(program, { messageId: 'new', ...OF_USER })
    await send(program, { messageId: 'other', user_id: 'other' })
    await holds(2)
    t.match(await run('query', 'select user_id from events'), { code: 0, stdout: new RegExp(USER) })

    t.match(await run('erase', '--where', `user_id = '${USER}'`, '--dry-run', '--json'), {
      code: 0,
      stdout: /"isDone": false/,
    })
    t.not((await keysWith(t, archive, TEXTS)).length, 0)
    t.match(await run('erase', '--where', `user_id = '${USER}'`), { code: 2, stderr: /Add --yes/ })
    t.match(await run('erase', '--where', `user_id = '${USER}'`, '--yes'), {
      code: 0,
      stdout: /Erased 2 events: .*Not reached: /s,
    })
    t.strictSame(await keysWith(t, archive, TEXTS), [])
    const own = bytesBelow(env.DATA_DIR as string)
    for (const text of TEXTS) t.notOk(own.includes(text), 'no trace in DATA_DIR')
    t.match(await run('query', 'select count(*), count(user_id) from events', '--format=csv'), {
      stdout: /\n5,1\n/,
    })
    t.match(await run('verify'), { code: 0 })
    t.match(await run('log', 'show'), { code: 0 })

    await send(program, { messageId: 'new', ...OF_USER })
    await holds(3)
    t.strictSame(await keysWith(t, archive, TEXTS), [], 'an erased event that is sent again is not archived')

    t.match(await run('erase', '--suppress', '--user-id', USER, '43'), { code: 0, stdout: /2 ids/ })
    t.strictSame(await keysWith(t, archive, TEXTS), [], 'the list names nobody')
    await program.stop()
    program = await served(t, serverEnv)
    for (const event of [{ user_id: USER }, { userId: 43 }, { user_id: '42' }]) await send(program, event)
    await holds(6)
    t.match(await ledgerOf(t, program), { verdict: 'adds-up', accepted: 6, archived: 6, suppressed: 2 })
    t.strictSame(await keysWith(t, archive, TEXTS), [])

    t.match(await run('erase', '--unsuppress', '--user-id', USER, 'nobody'), { stdout: /^1 id of 2 were/ })
    await program.stop()
    program = await served(t, serverEnv)
    await send(program, { user_id: USER })
    await holds(7)
    t.not((await keysWith(t, archive, TEXTS)).length, 0)
    t.match(await run('verify'), { code: 0 })
  })
}

t.test('a condition that is none, and flags that contradict each other, are refused', async t => {
  const archive = await openArchive(t, 'directory')
  await putObject(archive, objectOf([archivedEvent(OF_USER)]))
  await build(archive, archive.store)
  const env = envOf(t, archive)
  const calls: readonly (readonly [args: readonly string[], code: number, words: RegExp])[] = [
    [[], 2, /--where is missing/],
    [['--where', 'true) or (true'], 1, /not one condition|must be a condition/],
    [['--where', 'true', '--user-id', '1'], 2, /need --suppress/],
    [['--unsuppress'], 2, /needs --user-id/],
  ]
  for (const [args, code, words] of calls)
    t.match(await runProgram(t, path, ['erase', '--yes', ...args], env), { code, stderr: words })
  t.not((await keysWith(t, archive, TEXTS)).length, 0)
})
