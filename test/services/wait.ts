import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 50

/**
 * Calls `isReady` every 50 ms, and resolves once it returns true. Rejects with the error of `isReady`.
 * @param what for the error: "radosgw answers"
 * @throws Error if that takes longer than `timeoutMs`
 */
export async function until(
  what: string,
  timeoutMs: number,
  isReady: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!(await isReady())) {
    if (Date.now() > deadline) throw new Error(`Not within ${timeoutMs} ms: ${what}`)
    await sleep(POLL_MS)
  }
}

/** Resolves to the value of `promise`, or to undefined if `promise` is still pending after `timeoutMs`. */
export async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>(resolve => {
    timer = setTimeout(resolve, timeoutMs, undefined)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Resolves to true when the process has exited, or to false if it still runs after `timeoutMs`. */
export async function hasExited(child: ChildProcess, timeoutMs: number): Promise<boolean> {
  if (!isRunning(child)) return true
  const exited = new Promise<true>(resolve => child.once('exit', () => resolve(true)))
  return (await within(exited, timeoutMs)) ?? false
}

export function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null
}
