/** A deliberate break: a small change of one file, and the checks that should notice it. */

import { transformSync } from 'esbuild'

/** A test file, or a number of schedules of the simulation. */
export type Check = string | { readonly schedules: number }

export interface Break {
  /** What the changed code does wrong. Unique. */
  readonly name: string
  /** The property that the change breaks. */
  readonly promise: string
  /** Path from the root of the tree. */
  readonly file: string
  /** It occurs exactly once in the file. */
  readonly text: string
  readonly replacement: string
  /** Fastest first. After the first check that notices, the others are not run. */
  readonly checks: readonly Check[]
  /** Why no check notices it, if that is known. It still counts as not noticed. */
  readonly survives?: string
}

/** Tests that need RabbitMQ or radosgw (test/services/run.ts). */
const WITH_SERVERS: ReadonlySet<string> = new Set([
  'test/contract/queue.test.ts',
  'test/contract/store.test.ts',
  'test/src/archive/archiver.test.ts',
  'test/src/archive/exactly-once.test.ts',
  'test/src/queue/rabbitmq-network.test.ts',
  'test/src/queue/rabbitmq.test.ts',
  'test/src/queue/spooled.test.ts',
])

export function needsServers(check: Check): boolean {
  return typeof check === 'string' && WITH_SERVERS.has(check)
}

export function nameOf(check: Check): string {
  return typeof check === 'string'
    ? check.replace(/^test\//, '').replace(/\.test\.ts$/, '')
    : `simulation, ${check.schedules} schedules`
}

/**
 * The content of the file with the change.
 *
 * @throws Error if the text does not occur exactly once, or if the result is not TypeScript, which any test would notice
 * that.
 */
export function applied({ name, file, text, replacement }: Break, content: string): string {
  const count = content.split(text).length - 1
  if (count !== 1)
    throw new Error(`"${name}": its text occurs ${count} times in ${file}, and has to occur once: ${text}`)
  const broken = content.replace(text, () => replacement)
  transformSync(broken, { loader: 'ts', logLevel: 'silent' })
  return broken
}
