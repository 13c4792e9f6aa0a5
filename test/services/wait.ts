import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 50

/**
 * Resolves as soon as `ready` says so. What `ready` throws is thrown.
 * @param what for the error's message: "radosgw answers"
 * @throws Error when that takes longer than `timeoutMs`
 */
export async function until(
  what: string,
  timeoutMs: number,
  ready: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!(await ready())) {
    if (Date.now() > deadline) throw new Error(`Not within ${timeoutMs} ms: ${what}`)
    await sleep(POLL_MS)
  }
}

/** Resolves to true when the process has exited, to false when it still runs after `timeoutMs`. */
export async function hasExited(child: ChildProcess, timeoutMs: number): Promise<boolean> {
  if (!isRunning(child)) return true
  return await new Promise(resolve => {
    const timer = setTimeout(() => {
      child.off('exit', exited)
      resolve(false)
    }, timeoutMs)
    const exited = () => {
      clearTimeout(timer)
      resolve(true)
    }
    child.once('exit', exited)
  })
}

export function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null
}
