/** What `frequency replay` says before it sends. */

import { type ArchiveSources, inRange } from '../../query/event-sources.ts'
import type { Beginning } from '../../replay/begin.ts'
import type { ReplayState } from '../../replay/checkpoint.ts'
import { grouped, many } from '../verify/report.ts'
import type { Destination } from './options.ts'

/** For people, without secrets: a URL has no user, password and query. */
export function inWords(destination: Destination): string {
  if (destination.kind === 'url') return destination.url.origin + destination.url.pathname
  if (destination.kind === 'file') return destination.path
  return destination.kind === 'queue' ? 'the queue' : 'standard output'
}

/**
 * One sentence: what is sent, and where.
 *
 * @param count of the events, if they were counted. Otherwise the log says how many there are at most
 */
export function whatIsSent(
  verb: string,
  { state, sources }: Beginning,
  destination: Destination,
  count: number | undefined,
): string {
  const { range } = state
  const wanted = inRange(sources, range)
  const events = eventsOf(wanted)
  const objects = wanted.batches.length + wanted.files.length
  const hours = new Set(
    [...wanted.batches, ...wanted.files].map(({ key }) => /dt=[^/]*\/hour=[^/]*/.exec(key)?.[0]),
  ).size
  const isAll = range.since === undefined && range.until === undefined
  const counted =
    count === undefined ? `${isAll ? '' : 'at most '}${many(events, 'event')}` : many(count, 'event')
  return `${verb} ${counted} of ${many(objects, 'object')} (${many(hours, 'hour')}) to ${inWords(destination)}.`
}

/** At most: of a batch of which the table has a part, all are counted. */
export function eventsOf({ batches, files }: ArchiveSources): number {
  return batches.reduce((sum, { events }) => sum + events, 0) + files.reduce((sum, { rows }) => sum + rows, 0)
}

export function alreadyDone({ sent, skipped }: ReplayState): string {
  const refused = skipped === 0 ? '' : `, ${grouped(skipped)} were refused`
  return `This replay is done: ${many(sent, 'event')} sent${refused}. --restart sends them again.`
}

/** @param seconds of this run */
export function ending(
  { sent, skipped, isDone }: ReplayState,
  seconds: number,
  skippedPath: string | undefined,
  isResumable: boolean,
): string {
  if (!isDone) {
    const stopped = `Stopped after ${many(sent + skipped, 'event')}.`
    return isResumable ? `${stopped} The same command goes on after them.` : stopped
  }
  const refused = skipped === 0 ? '' : ` ${many(skipped, 'event')} refused: see ${skippedPath}.`
  return `Done: ${many(sent, 'event')} sent, in ${seconds.toFixed(1)} s.${refused}`
}

const BY_ID = 'Each event keeps its messageId, so a receiver can tell that it has the event already.'

/** Whether an archive that has the events would have them twice. Empty if they go to a file. */
export function dedupeNote(destination: Destination): string {
  const { kind } = destination
  if (kind === 'queue')
    return `An archive that has these events adds none of them: it knows their ids, and looks older events up by their receivedAt.\n${BY_ID}\n`
  if (kind !== 'url') return ''
  return isOfFrequency(destination.url)
    ? `An archive that has these events adds none of them within its DEDUPE_WINDOW_MS (default: 24h), because it knows their ids. Older events would be archived again, with a new receivedAt: for them use --to queue.\n${BY_ID}\n`
    : `${BY_ID}\n`
}

function isOfFrequency({ pathname }: URL): boolean {
  return /\/(?:v1\/[a-z]+|api\/t(?:\/batch)?)$/.test(pathname)
}
