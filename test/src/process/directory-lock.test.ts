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
/** How far ahead a race is set, so that the command reaches all processes before it begins. */
const LEAD_MS = 5
const IN_USE = 'another process is using it'

interface Rival {
  /** Tries to lock the directory at that time, in ms since 1970. Resolves to `taken` or the error's message. */
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
  if ((await next()) !== 'ready') throw new Error('The process does not start')
  return {
    take: (name, at = 0) => {
      child.stdin.write(`${name} ${at}\n`)
      return next()
    },
    signal: signal => child.kill(signal),
    kill,
  }
}

/** Has all rivals try to lock each directory at the same moment. */
async function race(t: Test, rivals: readonly Rival[], names: readonly string[]): Promise<void> {
  const wrong: string[] = []
  const endsAt = Date.now() + RACING_MS_MAX
  let races = 0
  for (const name of names) {
    if (Date.now() > endsAt) break
    const at = Date.now() + LEAD_MS
    const answers = await Promise.all(rivals.map(rival => rival.take(name, at)))
    const isRight =
      answers.filter(line => line === 'taken').length === 1 &&
      answers.every(line => line === 'taken' || line === IN_USE)
    if (!isRight) wrong.push(`${name}: ${answers.join(', ')}`)
    races++
  }
  t.same(wrong, [], `${races} races, each with one winner`)
  t.ok(races > 10, `${races} races`)
}

test('after a SIGKILL of the holder, exactly one of several processes gets the lock', async t => {
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
    'the other places are removed',
  )
})

test('in a new directory exactly one of several processes gets the lock', async t => {
  const parent = temporaryDirectory(t)
  const names = range(50).map(String)
  for (const name of names) mkdirSync(join(parent, name))
  await race(t, await Promise.all(range(RIVALS).map(() => startRival(t, parent))), names)
})

test('a stopped process (SIGSTOP) keeps its lock', async t => {
  const parent = temporaryDirectory(t)
  mkdirSync(join(parent, 'a'))
  const holder = await startRival(t, parent)
  t.equal(await holder.take('a'), 'taken')
  holder.signal('SIGSTOP')
  // More connections than the socket's queue holds (511 in Node, unless net.core.somaxconn is lower).
  const refused = await Promise.allSettled(range(600).map(() => lockDirectory(join(parent, 'a'))))
  t.ok(refused.every(each => each.status === 'rejected' && each.reason.code === 'FRQ_DIRECTORY_IN_USE'))
  await holder.kill()
  await (await lockDirectory(join(parent, 'a'))).release()
})

test('files left by a crash, or by copying the directory, do not prevent a lock', async t => {
  const path = temporaryDirectory(t)
  const leftovers: Record<string, () => void> = {
    'a place without its socket': () => mkdirSync(join(path, 'lock-7')),
    'a place whose socket is a file': () => {
      mkdirSync(join(path, 'lock-1000'))
      writeFileSync(join(path, 'lock-1000', 's'), '')
    },
    'a place that is a file': () => writeFileSync(join(path, 'lock-2000'), ''),
    'an attempt': () => mkdtempSync(join(path, 'lock~')),
    'a foreign file': () => writeFileSync(join(path, 'lock.mdb'), ''),
  }
  for (const [what, leave] of Object.entries(leftovers)) {
    leave()
    const lock = await lockDirectory(path)
    await t.rejects(lockDirectory(path), { code: 'FRQ_DIRECTORY_IN_USE' }, what)
    await lock.release()
  }
  t.same(readdirSync(path).length, 2, 'the lock and the foreign file remain')
})

test('locking a missing or removed directory fails with ENOENT', async t => {
  const path = join(temporaryDirectory(t), 'a')
  await t.rejects(lockDirectory(path), { code: 'ENOENT' })
  mkdirSync(path)
  await (await lockDirectory(path)).release()
  rmSync(path, { recursive: true })
  await t.rejects(lockDirectory(path), { code: 'ENOENT' })
})
