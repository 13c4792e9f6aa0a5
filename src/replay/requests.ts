import { createReadStream } from 'node:fs'
import { LINE_FEED } from '../event/json-bytes.ts'

const READ_BYTES = 1024 * 1024

export interface RequestLimits {
  readonly eventsMax: number
  /** Of the events and one byte each. One larger event is a request of its own. */
  readonly bytesMax: number
}

/** Events that are sent together. */
export interface EventRequest {
  /** Position of the first event in its slice, from 0. */
  readonly first: number
  /** The JSON of each event, on one line, without the line feed. */
  readonly events: readonly Buffer[]
}

/**
 * Cuts the lines of a file into requests.
 *
 * @param skipped lines that were sent before
 * @param skippedLine called with the last one of them
 */
export async function* requestsOf(
  path: string,
  { eventsMax, bytesMax }: RequestLimits,
  skipped: number,
  skippedLine: (line: Buffer) => void,
): AsyncGenerator<EventRequest> {
  let first = 0
  let events: Buffer[] = []
  let bytes = 0
  let position = 0
  for await (const line of linesOf(path)) {
    if (position++ < skipped) {
      if (position === skipped) skippedLine(line)
      first = position
      continue
    }
    if (events.length > 0 && (events.length === eventsMax || bytes + line.length + 1 > bytesMax)) {
      yield { first, events }
      first += events.length
      events = []
      bytes = 0
    }
    events.push(line)
    bytes += line.length + 1
  }
  if (events.length > 0) yield { first, events }
}

async function* linesOf(path: string): AsyncGenerator<Buffer> {
  let begun: Buffer[] = []
  for await (const read of createReadStream(path, { highWaterMark: READ_BYTES })) {
    const piece = read as Buffer
    let start = 0
    for (let end = piece.indexOf(LINE_FEED); end !== -1; end = piece.indexOf(LINE_FEED, start)) {
      const last = piece.subarray(start, end)
      yield begun.length === 0 ? last : Buffer.concat([...begun, last])
      begun = []
      start = end + 1
    }
    if (start < piece.length) begun.push(piece.subarray(start))
  }
}
