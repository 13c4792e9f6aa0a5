/** The arithmetic and the texts of the ledger. */
import { test } from 'tap'
import { balance, type Ledger } from '../../../src/observability/ledger-balance.ts'
import type { Counts, LedgerEntryContent } from '../../../src/observability/ledger-entry.ts'
import { type ProcessStatus, statusOfAll } from '../../../src/observability/process-status.ts'

const AT = '2026-11-24T13:00:00.000Z'

function entryOf(
  id: string,
  counts: Partial<Counts>,
  more: Partial<LedgerEntryContent> = {},
): LedgerEntryContent {
  const all = { accepted: 0, unconfirmed: 0, settled: 0, settledForeign: 0, archived: 0, dead: 0, ...counts }
  return { id, begunAt: AT, savedAt: AT, found: 0, kills: 0, isClosed: false, ...more, counts: all }
}

function processOf(
  role: ProcessStatus['role'],
  books: LedgerEntryContent[],
  now: Partial<ProcessStatus['now']> = {},
): ProcessStatus {
  return {
    role,
    startedAt: AT,
    queue: 'a queue',
    ready: true,
    troubles: [],
    books,
    log: null,
    now: {
      disk: 0,
      isEmbedded: false,
      underway: 0,
      held: { deliveries: 0, events: 0 },
      hiddenDeliveriesMax: 0,
      waiting: { messages: 0, dead: 0 },
      publishEventsMax: 10,
      ...now,
    },
  }
}

interface Case {
  readonly accepted: number
  readonly settled: number
  readonly unconfirmed?: number
  readonly disk?: number
  readonly held?: number
  readonly messages?: number
}

function ledgerOf({ accepted, settled, unconfirmed = 0, disk = 0, held = 0, messages = 0 }: Case): Ledger {
  const processes = [
    processOf('ingest', [entryOf('a', { accepted, unconfirmed })], { disk, waiting: { messages, dead: 0 } }),
    processOf('archive', [entryOf('b', { settled })], {
      held: { deliveries: held, events: held },
      waiting: { messages, dead: 0 },
    }),
  ]
  return balance([processes, processes])
}

test('adds up if every event is accounted for', t => {
  t.match(ledgerOf({ accepted: 100, settled: 100 }), { verdict: 'adds-up', difference: 0, words: [] })
  t.match(ledgerOf({ accepted: 100, settled: 50, disk: 20, held: 30 }), { verdict: 'adds-up' })
  t.end()
})

test('a message counts as one event up to the maximum', t => {
  const at = (events: number) => ledgerOf({ accepted: 100 + events, settled: 100, messages: 3 })
  t.match(at(3), { verdict: 'adds-up', queue: { messages: 3, eventsByDifference: 3 } })
  t.match(at(30), { verdict: 'adds-up', queue: { eventsMin: 3, eventsMax: 30 } })
  t.match(at(31), { verdict: 'missing', difference: 1 })
  t.match(at(2), { verdict: 'surplus', difference: -1 })
  t.end()
})

test('a lost event is missing, and an additional one is surplus', t => {
  t.match(ledgerOf({ accepted: 101, settled: 100 }), {
    verdict: 'missing',
    difference: 1,
    words: [/^1 accepted events are neither/, /verify/],
  })
  t.match(ledgerOf({ accepted: 100, settled: 101 }), {
    verdict: 'surplus',
    difference: -1,
    words: [/^1 more/, /asked/],
  })
  t.end()
})

test('events without a confirm may be counted twice, but not more', t => {
  t.match(ledgerOf({ accepted: 100, settled: 105, unconfirmed: 5 }), { verdict: 'adds-up' })
  t.match(ledgerOf({ accepted: 100, settled: 106, unconfirmed: 5 }), { verdict: 'surplus', difference: -1 })
  t.match(ledgerOf({ accepted: 100, settled: 100, unconfirmed: 5 }), { verdict: 'adds-up' })
  t.end()
})

test('events that move between the two rounds are the tolerance', t => {
  const round = (accepted: number, settled: number) => [
    processOf('ingest', [entryOf('a', { accepted })], { underway: 2 }),
    processOf('archive', [entryOf('b', { settled })]),
  ]
  t.match(balance([round(90, 90), round(100, 83)]), { verdict: 'adds-up', tolerance: 19, difference: 0 })
  t.match(balance([round(100, 80), round(100, 80)]), { verdict: 'missing', tolerance: 2, difference: 20 })
  t.end()
})

test('entries that several processes list count once, with their latest counts', t => {
  const old = entryOf('a', { accepted: 70 }, { savedAt: '2026-11-24T12:59:59.000Z' })
  const now = entryOf('a', { accepted: 100, settled: 60 })
  const gone = entryOf('c', { settled: 40 }, { isClosed: true })
  const processes = [processOf('all', [now, gone]), processOf('archive', [entryOf('b', {}), old, gone])]
  t.match(balance([processes, processes]), { verdict: 'adds-up', accepted: 100, archived: 100 })
  t.end()
})

test('the statuses of several workers become one', t => {
  const [a, b] = [entryOf('a', { accepted: 60, settled: 20 }), entryOf('b', { accepted: 40, settled: 10 })]
  const one = processOf('all', [a, b], { disk: 30, held: { deliveries: 2, events: 25 }, waiting: null })
  const two = processOf('all', [b, a], { disk: 5, held: { deliveries: 1, events: 10 } })
  const both = statusOfAll([one, { ...two, ready: false, troubles: ['of two'] }])
  t.match(both, {
    ready: false,
    troubles: ['of two'],
    now: { disk: 35, held: { deliveries: 3, events: 35 } },
  })
  t.match(balance([[both], [both]]), {
    verdict: 'adds-up',
    accepted: 100,
    archived: 30,
    disk: 35,
    unacknowledged: 35,
  })
  t.end()
})

test('events of other programs count when they are archived or dead', t => {
  const books = [entryOf('a', { accepted: 10, settled: 10, settledForeign: 4, dead: 3, archived: 12 })]
  const processes = [processOf('all', books)]
  t.match(balance([processes, processes]), {
    verdict: 'adds-up',
    fromOthers: 7,
    archived: 14,
    copies: 2,
    dead: 3,
  })
  t.end()
})

test('events of suppressed users are acknowledged, and are no copies', t => {
  const processes = [
    processOf('all', [entryOf('a', { accepted: 10, settled: 10, archived: 6, suppressed: 3 })]),
  ]
  t.match(balance([processes, processes]), { verdict: 'adds-up', archived: 10, copies: 1, suppressed: 3 })
  t.end()
})

test('without a broker unacknowledged events are on disk, and all numbers are exact', t => {
  const embedded = { isEmbedded: true, disk: 30, held: { deliveries: 5, events: 30 }, waiting: null }
  const of = (accepted: number) => [
    processOf('all', [entryOf('a', { accepted, settled: 70 }, { found: 1 })], embedded),
  ]
  t.match(balance([of(99), of(99)]), { verdict: 'adds-up', found: 1, disk: 30, unacknowledged: 0 })
  t.match(balance([of(100), of(100)]), { verdict: 'missing', difference: 1 })
  t.end()
})

test('names the answers that are missing', t => {
  const ingest = processOf('ingest', [entryOf('a', { accepted: 5 })])
  const archive = processOf('archive', [entryOf('b', { settled: 5 })], { waiting: null })
  t.match(balance([[ingest], [ingest]]), { verdict: 'unknown', words: [/No asked process archives/] })
  t.match(balance([[archive], [archive]]), {
    verdict: 'unknown',
    words: [/takes events/, /broker does not answer/],
  })
  t.match(
    balance([
      [ingest, archive],
      [ingest, archive],
    ]),
    { verdict: 'adds-up' },
  )
  t.end()
})

test('names possible causes', t => {
  const processes = [
    processOf('ingest', [entryOf('a', { accepted: 9 }, { kills: 2 })], { waiting: { messages: 0, dead: 4 } }),
    processOf('archive', [entryOf('b', {}, { begunAt: '2026-11-25T13:00:00.000Z' })]),
  ]
  const { words } = balance([processes, processes])
  t.match(
    words.join(' '),
    /shutdown \(2 in all\).*began between 2026-11-24.* and 2026-11-25.*dead-letter queue holds 4/,
  )
  t.end()
})

test('a paused archiver may have deliveries that it has not read', t => {
  const of = (hiddenDeliveriesMax: number) => [
    processOf('ingest', [entryOf('a', { accepted: 100 })]),
    processOf('archive', [entryOf('b', {})], { hiddenDeliveriesMax }),
  ]
  t.match(balance([of(10), of(10)]), { verdict: 'adds-up' })
  t.match(balance([of(9), of(9)]), { verdict: 'missing', difference: 10 })
  t.end()
})
