import t from 'tap'
import { ArchivedRate } from '../../../src/live/archived-rate.ts'

const SAMPLE_MS = 1_000

/** The rates of all seconds. @param batches time in milliseconds and events of each batch */
function ratesOf(
  batches: readonly (readonly [ms: number, events: number])[],
  seconds: number,
  batchAgeMs = 10_000,
): number[] {
  const rate = new ArchivedRate({ ms: 0, archived: 0 }, batchAgeMs)
  return Array.from({ length: seconds }, (_, n) => {
    const ms = (n + 1) * SAMPLE_MS
    const archived = batches.filter(([at]) => at <= ms).reduce((sum, [, events]) => sum + events, 0)
    return Math.round(rate.next({ ms, archived }))
  })
}

t.test('batches of ten seconds show their mean, however they fall between the samples', async t => {
  for (const periodMs of [9_990, 10_000, 10_050, 10_700]) {
    const batches = Array.from({ length: 12 }, (_, n) => [(n + 1) * periodMs, 300] as const)
    const rates = ratesOf(batches, 120).slice(11)
    t.ok(
      rates.every(rate => rate >= 25 && rate <= 34),
      `${periodMs} ms: ${Math.min(...rates)} to ${Math.max(...rates)}`,
    )
  }
})

t.test('batches of a second show a mean of ten seconds', async t => {
  const batches = Array.from({ length: 60 }, (_, n) => [n * 1_000 + 500, n < 30 ? 100 : 200] as const)
  const rates = ratesOf(batches, 60)
  t.equal(rates[25], 100)
  t.equal(rates[50], 200)
})

t.test('the rate sinks, and is 0 when nothing has been archived for two spans', async t => {
  const rates = ratesOf(
    [
      [10_000, 300],
      [20_000, 300],
    ],
    60,
  )
  t.same(rates.slice(0, 9), Array(9).fill(0))
  t.equal(rates[19], 30)
  t.equal(rates[29], 30)
  t.equal(rates[39], 15, 'half of it')
  t.same(rates.slice(40), Array(20).fill(0))
})

t.test('a batch after a quiet hour counts as one of ten seconds, and no longer', async t => {
  const rates = ratesOf([[3_600_000, 1_000]], 3_700)
  t.equal(rates[3_599], 105)
  t.equal(rates[3_609], 100)
  t.same(rates.slice(3_620), Array(80).fill(0))
})

t.test('batches of a minute show their mean', async t => {
  const batches = Array.from({ length: 5 }, (_, n) => [(n + 1) * 60_000, 600] as const)
  t.same(ratesOf(batches, 300, 60_000).slice(60), Array(240).fill(10))
})
