import type { Config } from '../src/config/config.ts'
import { archivedObjects } from '../test/bin/archived.ts'
import { until } from '../test/services/wait.ts'
import type { LoadResult } from './load.ts'
import { progress } from './progress.ts'

/** Longer than BATCH_AGE_MS_MAX, at which a batch closes that is not full. */
const ARCHIVED_MS_MAX = 120_000

export interface Result {
  readonly sent: number
  readonly taken: number
  readonly objects: number
  readonly events: number
  readonly distinct: number
  readonly load: LoadResult
  readonly seconds: number
}

/** Resolves when `taken` events are archived, or after two minutes. */
export async function waitForArchive(config: Config, taken: number): Promise<void> {
  const archived = async () =>
    (await archivedObjects(config)).reduce((sum, each) => sum + each.lines.length, 0)
  await until('all events are archived', ARCHIVED_MS_MAX, async () => {
    const count = await archived()
    progress(`${count} of ${taken} events are archived`)
    return count >= taken
  }).catch(() => {})
}

/** Reads the archive, and counts its objects, its events and their different ids. */
export async function countArchive(config: Config): Promise<Pick<Result, 'objects' | 'events' | 'distinct'>> {
  const objects = await archivedObjects(config)
  const ids = objects.flatMap(({ lines }) => lines.map(line => JSON.parse(line).messageId))
  return { objects: objects.length, events: ids.length, distinct: new Set(ids).size }
}

/** Returns a sentence for each fault. @param objectsWanted number of objects that there must be; default: any */
export function flaws({ sent, taken, objects, events, distinct }: Result, objectsWanted?: number): string[] {
  return [
    taken < sent && `${sent - taken} requests were not answered with 200`,
    distinct < taken && `${taken - distinct} events are missing`,
    distinct > taken && `${distinct - taken} events are archived that were not answered with 200`,
    events > distinct && `${events - distinct} events are archived twice`,
    objectsWanted !== undefined &&
      objects !== objectsWanted &&
      `there are ${objects} objects, not ${objectsWanted}`,
  ].filter(flaw => flaw !== false)
}

/** Returns the result as lines of text. */
export function table({ sent, taken, objects, events, distinct, load, seconds }: Result): string {
  const others = [...load.answers].filter(([answer]) => answer !== 200)
  const rows: [string, string][] = [
    ['answers of 200', `${taken} of ${sent}`],
    ...others.map(([answer, count]): [string, string] => [`answers of ${answer}`, String(count)]),
    ['objects', String(objects)],
    ['events', String(events)],
    ['distinct messageIds', String(distinct)],
    ['missing', String(Math.max(0, taken - distinct))],
    ['archived twice', String(events - distinct)],
    ['elapsed', `${seconds.toFixed(1)} s`],
    ['latency p50', milliseconds(quantile(load.latenciesMs, 0.5))],
    ['latency p99', milliseconds(quantile(load.latenciesMs, 0.99))],
  ]
  return rows.map(([name, value]) => `  ${name.padEnd(20)} ${value.padStart(16)}\n`).join('')
}

function quantile(ascending: readonly number[], fraction: number): number {
  return ascending[Math.ceil(fraction * ascending.length) - 1] ?? Number.NaN
}

function milliseconds(value: number): string {
  return `${Math.round(value)} ms`
}
