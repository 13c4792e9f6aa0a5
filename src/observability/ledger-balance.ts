/**
 * Whether what came in is where it should be: accepted = archived + waiting + dead, in events.
 *
 * There is nobody who counts for all processes. Each counts what passed through it (ledger-entry.ts), and this
 * puts together what those say that were asked. Three things are not known to the event:
 *
 * - A message on the broker holds one event or more, and the broker counts messages. What must be there
 *   is known by difference, and adds up where it lies between one event a message and as many as a
 *   message may have.
 * - The processes are asked one after the other while events move. They are asked twice, and what moved
 *   in between is how far the sum may be off.
 * - An event whose confirm did not come may be on the queue twice. Both copies are acknowledged later, so
 *   up to so many more may be accounted for than were accepted.
 */

import type { Counts, LedgerEntryContent } from './ledger-entry.ts'
import type { ProcessStatus } from './process-status.ts'

export type Verdict = 'adds-up' | 'missing' | 'surplus' | 'unknown'

export interface Ledger {
  readonly verdict: Verdict
  /** Why, and what may have caused it; for a person. */
  readonly words: readonly string[]
  readonly begunAt: string
  readonly accepted: number
  /** Were in a queue on disk before anything was counted. */
  readonly found: number
  /** Published by other programs, once they are archived or dead. */
  readonly fromOthers: number
  readonly archived: number
  /** Of those: acknowledged without being written, because the archive had them. */
  readonly copies: number
  readonly disk: number
  readonly unacknowledged: number
  readonly queue: {
    /** Undefined where the broker could not be asked. */
    readonly messages: number | undefined
    /** What must be there for the sum to add up. */
    readonly eventsByDifference: number
    readonly eventsMin: number
    readonly eventsMax: number
  }
  readonly dead: number
  /** Messages in the dead-letter queue now. */
  readonly deadNow: number | undefined
  /** How far it may be off, because events moved while it was asked. */
  readonly tolerance: number
  /** Events that are missing (positive), or too many (negative). */
  readonly difference: number
}

interface Sums {
  readonly books: readonly LedgerEntryContent[]
  readonly counts: Counts
  readonly found: number
  readonly disk: number
  readonly underway: number
  readonly held: number
  readonly hiddenDeliveriesMax: number
}

/** @param rounds what each process said, in two rounds, the later one last */
export function balance(rounds: readonly [readonly ProcessStatus[], readonly ProcessStatus[]]): Ledger {
  const [before, now] = [sumsOf(rounds[0]), sumsOf(rounds[1])]
  const processes = rounds[1]
  const { counts, found, disk, held } = now
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
    begunAt: now.books.map(({ begunAt }) => begunAt).toSorted()[0] ?? '',
    accepted: counts.accepted,
    found,
    fromOthers: counts.settledForeign + counts.dead,
    archived: counts.settled + counts.settledForeign,
    copies: Math.max(0, counts.settled + counts.settledForeign - counts.archived),
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
  const books = booksOf(processes)
  const sum = (of: (process: ProcessStatus['now']) => number) =>
    processes.reduce((total, { now }) => total + of(now), 0)
  const total = (of: (book: LedgerEntryContent) => number) => books.reduce((all, book) => all + of(book), 0)
  return {
    books,
    counts: {
      accepted: total(({ counts }) => counts.accepted),
      unconfirmed: total(({ counts }) => counts.unconfirmed),
      settled: total(({ counts }) => counts.settled),
      settledForeign: total(({ counts }) => counts.settledForeign),
      archived: total(({ counts }) => counts.archived),
      dead: total(({ counts }) => counts.dead),
    },
    found: total(book => book.found),
    disk: sum(({ disk }) => disk),
    underway: sum(({ underway }) => underway),
    // What the embedded queue has handed out is on disk until it is settled.
    held: sum(({ isEmbedded, held }) => (isEmbedded ? 0 : held.events)),
    hiddenDeliveriesMax: sum(({ hiddenDeliveriesMax }) => hiddenDeliveriesMax),
  }
}

/** Processes of one DATA_DIR all show its books: of each the latest is taken. */
function booksOf(processes: readonly ProcessStatus[]): LedgerEntryContent[] {
  const latest = new Map<string, LedgerEntryContent>()
  for (const book of processes.flatMap(({ books }) => books)) {
    const known = latest.get(book.id)
    if (known === undefined || known.savedAt < book.savedAt) latest.set(book.id, book)
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
      'No process was asked that takes events: what was accepted is not known. Name it with --url.',
    )
  if (processes.every(({ role }) => role === 'ingest'))
    reasons.push('No process was asked that archives: what was archived is not known. Name it with --url.')
  if (queue.messages === undefined)
    reasons.push('The broker cannot be asked now: how much waits there is not known.')
  return reasons
}

function whyOff(
  verdict: 'missing' | 'surplus',
  { difference, deadNow = 0, dead }: Omit<Ledger, 'verdict' | 'words'>,
  { books }: Sums,
): string[] {
  const kills = books.reduce((sum, book) => sum + book.kills, 0)
  const starts = books.map(({ begunAt }) => begunAt).toSorted()
  const words =
    verdict === 'missing'
      ? [
          `${format(difference)} accepted events are neither archived, nor waiting, nor dead, as far as the processes know that were asked.`,
        ]
      : [
          `${format(-difference)} more events are archived, waiting or dead than were accepted, as far as the processes know that were asked.`,
        ]
  if (kills > 0)
    words.push(
      `Processes ended without a shutdown (${format(kills)} in all): what each of them counted in its last second is not in these numbers.`,
    )
  if (starts[0] !== starts.at(-1))
    words.push(
      `The counts began between ${starts[0]} and ${starts.at(-1)}: what passed before a count began is not in it.`,
    )
  if (verdict === 'missing' && deadNow > dead)
    words.push(
      `The dead-letter queue holds ${format(deadNow)} messages, and ${format(dead)} were put there by these processes.`,
    )
  words.push(
    verdict === 'missing'
      ? 'Was a process not asked, whose DATA_DIR is another one? If none was, look with: frequency verify'
      : 'Was a process not asked that takes events, or do other programs publish to the queue?',
  )
  return words
}

export function format(count: number): string {
  return count.toLocaleString('en')
}
