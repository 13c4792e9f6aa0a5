import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { type Test, test } from 'tap'
import { lockDirectory } from '../../../src/process/directory-lock.ts'
import { range, temporaryDirectory } from '../../helpers/helper.ts'

const PROGRAM = new URL('../../helpers/directory-lock-process.ts', import.meta.url).pathname
const RIVALS = 6
const RACES_MAX = 150
const RACING_MS_MAX = 5_000
/** How long a command takes to reach all processes, so that they begin together. */
const AHEAD_MS = 5
const IN_USE = 'another process is using it'

interface Rival {
  /** Tries to take it at that time, in milliseconds since 1970; resolves to what the process says then. */
  take(name: string, at?: number): Promise<string>
  signal(signal: NodeJS.Signals): void
  kill(): Promise<void>
}

async function startRival(t: Test, parent: string): Promise<Rival> {
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(
    process.execPath,
    ['--import=tsx', PROGRAM, parent],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const exit = once(child, 'exit')
  const kill = async () => {
    child.kill('SIGKILL')
    await exit
  }
  t.teardown(kill)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => (await lines.next()).value as string
  if ((await next()) !== 'ready') throw new Error('It does not start')
  return {
    take: (name, at = 0) => {
      child.stdin.write(`${name} ${at}\n`)
      return next()
    },
    signal: signal => child.kill(signal),
    kill,
  }
}

/** Lets all of them want each directory at the same moment. */
async function race(t: Test, rivals: readonly Rival[], names: readonly string[]): Promise<void> {
  const wrong: string[] = []
  const endsAt = Date.now() + RACING_MS_MAX
  let races = 0
  for (const name of names) {
    if (Date.now() > endsAt) break
    const at = Date.now() + AHEAD_MS
    const said = await Promise.all(rivals.map(rival => rival.take(name, at)))
    const isRight =
      said.filter(line => line === 'taken').length === 1 &&
      said.every(line => line === 'taken' || line === IN_USE)
    if (!isRight) wrong.push(`${name}: ${said.join(', ')}`)
    races++
  }
  t.same(wrong, [], `${races} races, each with one winner`)
  t.ok(races > 10, `${races} races`)
}

test('of processes that start at once after a SIGKILL, one has the directory', async t => {
  const parent = temporaryDirectory(t)
  const names = range(RACES_MAX).map(String)
  for (const name of names) mkdirSync(join(parent, name))
  const first = await startRival(t, parent)
  for (const name of names) if ((await first.take(name)) !== 'taken') t.fail(name)

  let holders = [first]
  for (const _ of range(2)) {
    const rivals = await Promise.all(range(RIVALS).map(() => startRival(t, parent)))
    t.equal(await rivals[0]?.take('0'), IN_USE)
    await Promise.all(holders.map(holder => holder.kill()))
    await race(t, rivals, names)
    holders = rivals
  }
  t.ok(
    names.every(name => readdirSync(join(parent, name)).length === 1),
    'and nothing is left of the others',
  )
})

test('of processes that start at once in a new directory, one has it', async t => {
  const parent = temporaryDirectory(t)
  const names = range(50).map(String)
  for (const name of names) mkdirSync(join(parent, name))
  await race(t, await Promise.all(range(RIVALS).map(() => startRival(t, parent))), names)
})

test('a process that is stopped keeps its directory', async t => {
  const parent = temporaryDirectory(t)
  mkdirSync(join(parent, 'a'))
  const holder = await startRival(t, parent)
  t.equal(await holder.take('a'), 'taken')
  holder.signal('SIGSTOP')
  // More than its queue of connections holds, as Linux sets it.
  const refused = await Promise.allSettled(range(600).map(() => lockDirectory(join(parent, 'a'))))
  t.ok(refused.every(each => each.status === 'rejected' && each.reason.code === 'FRQ_DIRECTORY_IN_USE'))
  await holder.kill()
  await (await lockDirectory(join(parent, 'a'))).release()
})

test('what a copy, or a crash, has left there is in nobody’s way', async t => {
  const path = temporaryDirectory(t)
  const left: Record<string, () => void> = {
    'a place without its socket': () => mkdirSync(join(path, 'lock-7')),
    'a file in its stead': () => {
      mkdirSync(join(path, 'lock-1000'))
      writeFileSync(join(path, 'lock-1000', 's'), '')
    },
    'a place that is a file': () => writeFileSync(join(path, 'lock-2000'), ''),
    'an attempt': () => mkdtempSync(join(path, 'lock~')),
    'files of others': () => writeFileSync(join(path, 'lock.mdb'), ''),
  }
  for (const [what, leave] of Object.entries(left)) {
    leave()
    const lock = await lockDirectory(path)
    await t.rejects(lockDirectory(path), { code: 'FRQ_DIRECTORY_IN_USE' }, what)
    await lock.release()
  }
  t.same(readdirSync(path).length, 2, 'and is removed, but for the files of others')
})

test('a directory that is not there, or was removed, is an error and no lock', async t => {
  const path = join(temporaryDirectory(t), 'a')
  await t.rejects(lockDirectory(path), { code: 'ENOENT' })
  mkdirSync(path)
  await (await lockDirectory(path)).release()
  rmSync(path, { recursive: true })
  await t.rejects(lockDirectory(path), { code: 'ENOENT' })
})
