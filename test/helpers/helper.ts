import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Test } from 'tap'
import { type Config, readConfig } from '../../src/config/config.ts'
import { type Event, stampEvent } from '../../src/event/event.ts'
import { createLogger } from '../../src/process/logger.ts'

export const silent = createLogger('silent', false)

/** Returns the config of a process whose environment has only these variables. */
export function configOf(env: Record<string, string> = {}): Config {
  return readConfig({}, env)
}

/** Makes a directory, and removes it at the end of the test. */
export function temporaryDirectory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'frequency-test-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Returns an event as the track route publishes it. */
export function eventOf(fields: Record<string, unknown>): Event {
  return stampEvent(Buffer.from(JSON.stringify(fields)), fields, new Date())
}

/** Returns `count` events with `n` from `from` on. */
export function numberedEvents(count: number, from = 0): Event[] {
  return Array.from({ length: count }, (_, i) => eventOf({ event: 'counted', n: from + i }))
}

export function numberOf(json: Buffer | string): number {
  return JSON.parse(json.toString()).n
}

/** Returns 0 … count - 1. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

/** Returns an integer from 0 to below - 1. The same seed gives the same integers (mulberry32). */
export type Random = (below: number) => number

export function createRandom(seed: number): Random {
  let state = seed
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/** Collects garbage, and returns the bytes of the buffers that are in use. */
export function liveBufferBytes(): number {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  return process.memoryUsage().arrayBuffers
}

/** Resolves to the milliseconds until `work` has resolved. */
export async function elapsed(work: Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work
  return performance.now() - start
}
