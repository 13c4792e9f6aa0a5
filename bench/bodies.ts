/** Files of bodies to send, and how many events are in so many answers. */
import { range } from '../test/helpers/helper.ts'
import { sampleCalls, sampleEvents } from './sample-events.ts'

/**
 * Where events have their ids from: `minted` has none, so frequency makes them; `clients` has a UUID in each;
 * `mixed` too, and comes by two ways, a batch of the Segment API and a single event in turns.
 */
export const IDS = ['minted', 'clients', 'mixed'] as const

export type Ids = (typeof IDS)[number]

/** What a title says of them. */
export const IDS_IN_WORDS: Readonly<Record<Ids, string>> = {
  minted: 'ids minted here',
  clients: "clients' ids",
  mixed: "clients' ids, 20 events in /v1/batch and one in /api/t in turns",
}

const EVENTS = 1_000
const CALLS_A_BATCH = 20

export interface Bodies {
  /** A line of JSON each, with a path before it where they go to several. */
  readonly file: string
  /** Where they go; in a file with paths it is not used. */
  readonly path: string
  /** The mean. */
  readonly eventsPerRequest: number
  /** How far requests are from it, up and down, in turns; 0 where all are equal. */
  readonly unevenness: number
}

/** What is known of a load that is cut off: requests on their way may have arrived, one a connection. */
export interface EventCount {
  readonly least: number
  readonly most: number
}

export function eventCount(
  { eventsPerRequest, unevenness }: Pick<Bodies, 'eventsPerRequest' | 'unevenness'>,
  answers: number,
  connections: number,
): EventCount {
  // Which answers are missing is not known, and large and small ones were sent in turns.
  const slack = unevenness * (connections + 1)
  return {
    least: Math.max(0, Math.floor(answers * eventsPerRequest - slack)),
    most: Math.ceil((answers + connections) * eventsPerRequest + slack),
  }
}

/** @param write writes a file of lines, and returns its path */
export function singleEvents(ids: Ids, write: (name: string, lines: readonly string[]) => string): Bodies {
  const singles = sampleEvents(EVENTS, ids !== 'minted')
  if (ids !== 'mixed')
    return { file: write(`${ids}.ndjson`, singles), path: '/api/t', eventsPerRequest: 1, unevenness: 0 }
  const calls = sampleCalls(EVENTS)
  const lines = singles.flatMap((single, n) => {
    const batch = range(CALLS_A_BATCH).map(each => calls[(n * CALLS_A_BATCH + each) % EVENTS])
    return [
      `/v1/batch {"batch":[${batch.join(',')}],"sentAt":"2026-11-24T12:00:00.000Z"}`,
      `/api/t ${single}`,
    ]
  })
  const mean = (CALLS_A_BATCH + 1) / 2
  return {
    file: write('mixed.ndjson', lines),
    path: '/api/t',
    eventsPerRequest: mean,
    unevenness: CALLS_A_BATCH - mean,
  }
}

/** For `/api/t/batch`. */
export function batchesOfEvents(
  ids: Exclude<Ids, 'mixed'>,
  eventsPerRequest: number,
  write: (name: string, lines: readonly string[]) => string,
): Bodies {
  const events = sampleEvents(EVENTS, ids !== 'minted')
  const lines = range(EVENTS / eventsPerRequest).map(n => {
    const from = n * eventsPerRequest
    return `[${events.slice(from, from + eventsPerRequest).join(',')}]`
  })
  const file = write(`batches-${ids}-${eventsPerRequest}.ndjson`, lines)
  return { file, path: '/api/t/batch', eventsPerRequest, unevenness: 0 }
}
