/** Runs a test file, or schedules of the simulation, in a copy of the tree. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Check } from './break.ts'

/** Time limit of a check without a break. A test that hangs mostly ends by its own limit. */
const UNBROKEN_MS_MAX = 300_000
const BROKEN_MS_MIN = 90_000
const BROKEN_TIMES = 4
const KILL_MS = 5_000
const OUTPUT_LENGTH_MAX = 20_000

export interface CheckResult {
  readonly outcome: 'passed' | 'failed' | 'hung'
  readonly ms: number
  /** The end of its output. */
  readonly output: string
}

export interface CheckOptions {
  readonly path: string
  /** How long the check takes without a break, in milliseconds; undefined if that is not known yet. */
  readonly unbrokenMs: number | undefined
  readonly stopping: AbortSignal
}

/** @throws Error when stopping */
export async function runCheck(
  check: Check,
  { path, unbrokenMs, stopping }: CheckOptions,
): Promise<CheckResult> {
  stopping.throwIfAborted()
  const msMax =
    unbrokenMs === undefined ? UNBROKEN_MS_MAX : Math.max(BROKEN_MS_MIN, BROKEN_TIMES * unbrokenMs)
  const startedAt = performance.now()
  // In its own process group, so that its children end with it.
  const child = spawn(process.execPath, argumentsOf(check), {
    cwd: path,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TAP_BAIL: '1', TAP_TIMEOUT: String(Math.ceil(msMax / 1000)) },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', chunk => {
      output = (output + chunk).slice(-OUTPUT_LENGTH_MAX)
    })
  let isHung = false
  const timer = setTimeout(() => {
    isHung = true
    endGroup(child)
  }, msMax)
  const stop = () => endGroup(child)
  stopping.addEventListener('abort', stop)
  const [code] = (await once(child, 'exit')) as [number | null]
  stopping.removeEventListener('abort', stop)
  clearTimeout(timer)
  signalGroup(child, 'SIGKILL')
  stopping.throwIfAborted()
  const outcome = isHung ? 'hung' : code === 0 ? 'passed' : 'failed'
  return { outcome, ms: performance.now() - startedAt, output }
}

/** The first failed assertion or finding in an output; undefined if it has none. */
export function failureIn(output: string): string | undefined {
  const [, assertion] = /^ *not ok \d+ - (.*?)(?: # time=.*)?$/m.exec(output) ?? []
  return assertion ?? /^seed .*\n +(.*)$/m.exec(output)?.[1]
}

function argumentsOf(check: Check): string[] {
  if (typeof check === 'string') return ['--import=tsx', check]
  const { schedules } = check
  // The same schedules for all breaks, so that a result can be repeated.
  const options = ['--schedules', String(schedules), '--from', 'breaks', '--workers', '1']
  return ['--import=tsx', 'test/simulation/main.ts', ...options]
}

function endGroup(child: ChildProcess): void {
  signalGroup(child, 'SIGTERM')
  setTimeout(() => signalGroup(child, 'SIGKILL'), KILL_MS).unref()
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch {
    // The whole group has ended.
  }
}
