/** Files of request bodies, and the number of events that a number of answers stands for. */
import { range } from '../test/helpers/helper.ts'
import { sampleCalls, sampleEvents } from './sample-events.ts'

/**
 * Where the ids of events come from. `minted`: events have none, so frequency makes them. `clients`: each event has a
 * UUID. `mixed`: each event has a UUID, and batches of the Segment API take turns with single events.
 */
export const IDS = ['minted', 'clients', 'mixed'] as const

export type Ids = (typeof IDS)[number]

/** The words in the title of a row. */
export const IDS_IN_WORDS: Readonly<Record<Ids, string>> = {
  minted: 'ids minted here',
  clients: "clients' ids",
  mixed: "clients' ids, 20 events in /v1/batch and one in /api/t in turns",
}

const EVENTS = 1_000
const CALLS_A_BATCH = 20

export interface Bodies {
  /** Path of a file with a JSON body in each line. Before it is the path of the request if there are several. */
  readonly file: string
  /** Path of the requests, if the file has none. */
  readonly path: string
  /** Mean number of events in a request. */
  readonly eventsPerRequest: number
  /** Difference of a request from the mean, up and down in turns; 0 if all requests are equal. */
  readonly unevenness: number
}

/** Bounds of the number of events that arrived. A load ends with one unanswered request on each connection, which may have arrived. */
export interface EventCount {
  readonly least: number
  readonly most: number
}

/** Returns the bounds for this number of answers. */
export function eventCount(
  { eventsPerRequest, unevenness }: Pick<Bodies, 'eventsPerRequest' | 'unevenness'>,
  answers: number,
  connections: number,
): EventCount {
  // It is not known whether the unanswered requests were large or small ones.
  const slack = unevenness * (connections + 1)
  return {
    least: Math.max(0, Math.floor(answers * eventsPerRequest - slack)),
    most: Math.ceil((answers + connections) * eventsPerRequest + slack),
  }
}

/** Bodies of single events; with `mixed`, also batches. @param write writes a file of lines, and returns its path */
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

/** Bodies for `/api/t/batch`. @param write writes a file of lines, and returns its path */
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
