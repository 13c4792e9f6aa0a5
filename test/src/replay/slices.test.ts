import { test } from 'tap'
import type { ArchivedBatch } from '../../../src/query/archive-batches.ts'
import { resumption } from '../../../src/replay/begin.ts'
import type { ReplayState } from '../../../src/replay/checkpoint.ts'
import { slicesOf, unitsOf } from '../../../src/replay/slices.ts'
import { createRandom, range } from '../../helpers/helper.ts'

const SIZES = { first: 10, growth: 2, max: 40 }

function batchOf(n: number, firstReceivedAt: number, lastReceivedAt: number, bytes = 10): ArchivedBatch {
  const own = { key: `k${n}`, sha256: `s${n}`, storedBytes: 1, events: 2, record: n, place: 0 }
  return { ...own, bytes, firstReceivedAt, lastReceivedAt, isInline: false, isStored: true }
}

test('each moment of a range is in one slice, however batches overlap', async t => {
  const random = createRandom(7)
  for (const _ of range(200)) {
    const batches = range(1 + random(30)).map(n => {
      const first = random(100)
      return batchOf(n, first, first + random(20), 1 + random(30))
    })
    const bounds = {
      since: random(2) === 0 ? undefined : random(50),
      until: random(2) === 0 ? undefined : 50 + random(80),
    }
    const slices = slicesOf(batches, bounds, SIZES)
    if (slices.length === 0) continue
    t.equal(slices[0]?.since, bounds.since)
    t.equal(slices.at(-1)?.until, bounds.until)
    for (const [index, slice] of slices.entries())
      if (index > 0) t.ok(slice.since !== undefined && slice.since === slices[index - 1]?.until)
  }
})

test('the first slice is small, the next ones grow', async t => {
  const batches = range(20).map(n => batchOf(n, n, n))
  t.strictSame(
    slicesOf(batches, {}, SIZES).map(({ events }) => events),
    [2, 4, 8, 8, 8, 8, 2],
  )
})

test('a replay goes on with the batches that it began with', async t => {
  const batches = range(10).map(n => batchOf(n, n, n))
  const snapshot = { record: 9, sha256: 's' }
  const state: ReplayState = {
    id: 'i',
    range: {},
    snapshot,
    position: { since: 2, until: 5, isUntimed: false, lines: 1, lastLine: 'd' },
    counted: 0,
    sent: 0,
    skipped: 0,
    outputBytes: 0,
    skippedBytes: 0,
    isDone: false,
  }
  const sources = { batches: [...batches, batchOf(10, 3, 3)], parts: new Map(), files: [] }
  const resumed = resumption(state, sources, snapshot)
  t.equal(resumed.sources.batches.length, 10)
  t.match(resumed.slices, [
    { since: 2, until: 5, events: 6 },
    { since: 5, until: undefined, events: 10 },
  ])
  t.throws(() => resumption(state, sources, { record: 9, sha256: 'other' }), /has not the same objects/)
})

test('a large file of the table is cut into parts of its hour', async t => {
  const file = { key: 'k', path: 'p', bytes: 20 * 2 ** 20, rows: 1_001, hour: 10, typedColumns: 0, stats: {} }
  const units = unitsOf({ batches: [], parts: new Map(), files: [file, { ...file, hour: null }] })
  t.equal(units.length, 5)
  t.equal(units[0]?.firstReceivedAt, 10 * 3_600_000)
  t.equal(units.at(-1)?.lastReceivedAt, 11 * 3_600_000 - 1)
  t.equal(
    units.reduce((sum, { events }) => sum + events, 0),
    1_001,
  )
  for (const [n, unit] of units.entries())
    if (n > 0) t.equal(unit.firstReceivedAt, (units[n - 1]?.lastReceivedAt ?? 0) + 1)
})
