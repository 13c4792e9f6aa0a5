/**
 * Checks whether all accepted events are accounted for: accepted = archived + waiting + dead, in events.
 *
 * No process counts for all. Each counts the events that pass through it (ledger-entry.ts), and `balance` adds up the
 * answers of the processes that were asked. Three numbers are not exact:
 *
 * - The broker counts messages, and a message has one or more events. The events on the broker are computed as the
 *   difference. The sum adds up if this difference is between one event per message and PUBLISH_EVENTS_MAX per message.
 * - The processes are asked one after the other while events move. So they are asked twice. The events that moved
 *   between the two rounds are the tolerance.
 * - An event without a publisher confirm may be on the queue twice. Both copies are acknowledged later, so the settled
 *   events may exceed the accepted ones by the number of these events.
 */

import type { Counts, LedgerEntryContent } from './ledger-entry.ts'
import type { ProcessStatus } from './process-status.ts'

export type Verdict = 'adds-up' | 'missing' | 'surplus' | 'unknown'

export interface Ledger {
  readonly verdict: Verdict
  /** The reasons for the verdict, and possible causes, for people. */
  readonly words: readonly string[]
  readonly begunAt: string
  readonly accepted: number
  /** Events that were in a queue on disk before counting began. */
  readonly found: number
  /** Events of other programs, counted when they are archived or dead-lettered. */
  readonly fromOthers: number
  readonly archived: number
  /** Events among `archived` that were acknowledged without being written, because the archive already had them. */
  readonly copies: number
  /** Events among `archived` that were dropped, because their user is suppressed. */
  readonly suppressed: number
  readonly disk: number
  readonly unacknowledged: number
  readonly queue: {
    /** Undefined if the broker could not be asked. */
    readonly messages: number | undefined
    /** Events that must be on the broker for the sum to add up. */
    readonly eventsByDifference: number
    readonly eventsMin: number
    readonly eventsMax: number
  }
  readonly dead: number
  /** Messages in the dead-letter queue now. */
  readonly deadNow: number | undefined
  /** Events by which the sum may be wrong, because they moved between the answers. */
  readonly tolerance: number
  /** Missing events (positive) or surplus events (negative). */
  readonly difference: number
}

interface Sums {
  readonly entries: readonly LedgerEntryContent[]
  readonly counts: Counts
  readonly found: number
  readonly disk: number
  readonly underway: number
  readonly held: number
  readonly hiddenDeliveriesMax: number
}

/** @param rounds the status of each process, asked twice; the later round is the second */
export function balance(rounds: readonly [readonly ProcessStatus[], readonly ProcessStatus[]]): Ledger {
  const [before, now] = [sumsOf(rounds[0]), sumsOf(rounds[1])]
  const processes = rounds[1]
  const { counts, found, disk, held } = now
  const { suppressed = 0 } = counts
  const waiting = processes.map(({ now: { waiting } }) => waiting).find(each => each !== null)
  const isEmbedded = processes.every(process => process.now.isEmbedded)
  const messages = isEmbedded ? 0 : waiting?.messages
  const perMessage = Math.max(1, ...processes.map(process => process.now.publishEventsMax))
  const byDifference = counts.accepted + found - counts.settled - disk - held
  const eventsMin = messages ?? 0
  const eventsMax = (eventsMin + now.hiddenDeliveriesMax) * perMessage
  const tolerance = movedBetween(before, now) + now.underway
  const difference =
    byDifference > eventsMax
      ? byDifference - eventsMax
      : Math.min(0, byDifference + counts.unconfirmed - eventsMin)
  const ledger = {
    begunAt: now.entries.map(({ begunAt }) => begunAt).toSorted()[0] ?? '',
    accepted: counts.accepted,
    found,
    fromOthers: counts.settledForeign + counts.dead,
    archived: counts.settled + counts.settledForeign,
    copies: Math.max(0, counts.settled + counts.settledForeign - counts.archived - suppressed),
    suppressed,
    disk,
    unacknowledged: held,
    queue: { messages, eventsByDifference: byDifference, eventsMin, eventsMax },
    dead: counts.dead,
    deadNow: waiting?.dead,
    tolerance,
    difference: Math.abs(difference) <= tolerance ? 0 : difference,
  }
  const reasons = whyUnknown(processes, ledger)
  if (reasons.length > 0) return { ...ledger, verdict: 'unknown', words: reasons }
  const verdict = ledger.difference === 0 ? 'adds-up' : ledger.difference > 0 ? 'missing' : 'surplus'
  return { ...ledger, verdict, words: verdict === 'adds-up' ? [] : whyOff(verdict, ledger, now) }
}

function sumsOf(processes: readonly ProcessStatus[]): Sums {
  const entries = entriesOf(processes)
  const sum = (of: (process: ProcessStatus['now']) => number) =>
    processes.reduce((total, { now }) => total + of(now), 0)
  const total = (of: (entry: LedgerEntryContent) => number) =>
    entries.reduce((all, entry) => all + of(entry), 0)
  return {
    entries,
    counts: {
      accepted: total(({ counts }) => counts.accepted),
      unconfirmed: total(({ counts }) => counts.unconfirmed),
      settled: total(({ counts }) => counts.settled),
      settledForeign: total(({ counts }) => counts.settledForeign),
      archived: total(({ counts }) => counts.archived),
      suppressed: total(({ counts }) => counts.suppressed ?? 0),
      dead: total(({ counts }) => counts.dead),
    },
    found: total(entry => entry.found),
    disk: sum(({ disk }) => disk),
    underway: sum(({ underway }) => underway),
    // Events that the embedded queue has delivered stay on disk until they are acknowledged, and `disk` counts them.
    held: sum(({ isEmbedded, held }) => (isEmbedded ? 0 : held.events)),
    hiddenDeliveriesMax: sum(({ hiddenDeliveriesMax }) => hiddenDeliveriesMax),
  }
}

/**
 * The latest state of each entry. Every process lists all entries of its DATA_DIR, so entries are listed repeatedly.
 */
function entriesOf(processes: readonly ProcessStatus[]): LedgerEntryContent[] {
  const latest = new Map<string, LedgerEntryContent>()
  for (const entry of processes.flatMap(({ books }) => books)) {
    const known = latest.get(entry.id)
    if (known === undefined || known.savedAt < entry.savedAt) latest.set(entry.id, entry)
  }
  return [...latest.values()]
}

function movedBetween(before: Sums, now: Sums): number {
  const { accepted, settled } = before.counts
  return Math.abs(now.counts.accepted - accepted) + Math.abs(now.counts.settled - settled)
}

function whyUnknown(processes: readonly ProcessStatus[], { queue }: Pick<Ledger, 'queue'>): string[] {
  const reasons: string[] = []
  if (processes.every(({ role }) => role === 'archive'))
    reasons.push(
      'No asked process takes events, so the number of accepted events is unknown. Name one that does with --url.',
    )
  if (processes.every(({ role }) => role === 'ingest'))
    reasons.push(
      'No asked process archives, so the number of archived events is unknown. Name one that does with --url.',
    )
  if (queue.messages === undefined)
    reasons.push('The broker does not answer now, so the number of waiting messages is unknown.')
  return reasons
}

function whyOff(
  verdict: 'missing' | 'surplus',
  { difference, deadNow = 0, dead }: Omit<Ledger, 'verdict' | 'words'>,
  { entries }: Sums,
): string[] {
  const kills = entries.reduce((sum, entry) => sum + entry.kills, 0)
  const starts = entries.map(({ begunAt }) => begunAt).toSorted()
  const words =
    verdict === 'missing'
      ? [
          `${format(difference)} accepted events are neither archived, nor waiting, nor dead, by the counts of the asked processes.`,
        ]
      : [
          `${format(-difference)} more events are archived, waiting or dead than were accepted, by the counts of the asked processes.`,
        ]
  if (kills > 0)
    words.push(
      `Processes ended without a shutdown (${format(kills)} in all): the counts of the last second before each end are missing.`,
    )
  if (starts[0] !== starts.at(-1))
    words.push(
      `The counts began between ${starts[0]} and ${starts.at(-1)}: each count lacks the events before its beginning.`,
    )
  if (verdict === 'missing' && deadNow > dead)
    words.push(
      `The dead-letter queue holds ${format(deadNow)} messages, but these processes dead-lettered ${format(dead)}.`,
    )
  words.push(
    verdict === 'missing'
      ? 'Is there a process with another DATA_DIR that was not asked? If not, check the archive with: frequency verify'
      : 'Is there a process that takes events and was not asked? Do other programs publish to the queue?',
  )
  return words
}

export function format(count: number): string {
  return count.toLocaleString('en')
}
