import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import { Child, type ChildOptions } from './child-process.ts'
import { until } from './wait.ts'
import { Workspace } from './workspace.ts'

const WAIT_MS_MAX = 20_000

/** Runs a shell script; it is killed at the end of the test. */
function runScript(t: Test, script: string, options: Partial<ChildOptions> = {}): Child {
  const child = new Child({
    name: 'script',
    command: 'sh',
    args: ['-c', script],
    env: { PATH: process.env.PATH },
    cwd: temporaryDirectory(t),
    ...options,
  })
  t.teardown(() => child.kill('SIGKILL').ended)
  return child
}

/** Whether a process has ended; a zombie that nobody has waited for has ended too. */
function isGone(pid: number): boolean {
  const status = `/proc/${pid}/status`
  return !existsSync(status) || /^State:\s+Z/m.test(readFileSync(status, 'utf8'))
}

t.test('collects both streams, and resolves when all output is read', async t => {
  const child = runScript(t, 'echo out; echo err >&2; exit 3')
  t.match(await child.endsWithin(WAIT_MS_MAX), { code: 3, signal: null })
  t.equal(child.stdout, 'out\n')
  t.equal(child.stderr, 'err\n')
  t.notOk(child.isRunning)
  t.throws(() => child.assertRunning(), /script has ended:\nout\nerr/)
})

t.test('keeps only the end of long output', async t => {
  const child = runScript(t, 'printf 0123456789', { outputCharsMax: 4 })
  await child.endsWithin(WAIT_MS_MAX)
  t.equal(child.stdout, '6789')
})

t.test('gives each listener whole lines', async t => {
  const child = runScript(t, 'printf "fir"; sleep 0.2; printf "st\\nsecond\\nrest"')
  const lines: string[][] = [[], []]
  for (const each of lines) child.onLine(line => each.push(line))
  await child.endsWithin(WAIT_MS_MAX)
  t.strictSame(lines, [
    ['first', 'second'],
    ['first', 'second'],
  ])
})

t.test('says() rejects with the output when the process ends', async t => {
  const child = runScript(t, 'echo something else')
  await t.rejects(child.says(/listens/, WAIT_MS_MAX), /script does not say .*\nsomething else/s)
})

t.test('stop() lets a paused process handle SIGTERM', async t => {
  const child = runScript(t, 'trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done')
  await child.says(/ready/)
  child.kill('SIGSTOP')
  t.match(await child.stop(5_000), { code: 5, signal: null })
})

t.test('a process that ignores SIGTERM is killed when its time is up', async t => {
  const child = runScript(t, 'trap "" TERM; echo ready; while :; do sleep 0.1; done')
  await child.says(/ready/)
  await t.rejects(child.stop(300), /script did not end within 300 ms:\nready/)
  t.match(await child.ended, { signal: 'SIGKILL' })
})

t.test('the end of a workspace kills the whole process group', async t => {
  const workspace = new Workspace('test')
  const logFile = join(workspace.dir, 'script.log')
  const child = runScript(t, 'sleep 60 & echo $!; wait', { workspace, logFile })
  await until('the script has started its child', WAIT_MS_MAX, () => /\d\n/.test(child.output))
  const grandchild = Number(readFileSync(logFile, 'utf8'))
  await workspace.close()
  t.match(await child.endsWithin(WAIT_MS_MAX), { signal: 'SIGKILL' })
  await until('its child has ended', WAIT_MS_MAX, () => isGone(grandchild))
  t.notOk(existsSync(workspace.dir))
})

t.test('a command that does not exist is an error', async t => {
  t.throws(() => new Child({ name: 'x', command: '/nowhere', args: [], env: {}, cwd: '/' }), {
    message: '/nowhere cannot be executed',
  })
})
