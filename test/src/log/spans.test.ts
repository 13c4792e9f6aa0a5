import { test } from 'tap'
import { inSpans, joinSpans, type Spans } from '../../../src/log/spans.ts'
import { createRandom, range } from '../../helpers/helper.ts'

test('spans that touch become one, others stay separate', async t => {
  const joined = joinSpans(
    [[0, 1_000]],
    [
      [500, 2_000],
      [10_000_000, 10_000_001],
    ],
  )
  t.same(joined, [
    [0, 2_000],
    [10_000_000, 10_000_001],
  ])
})

test('a bounded number of spans covers any number of them', async t => {
  const random = createRandom(7)
  let spans: Spans = []
  const all: [number, number][] = []
  for (const _ of range(2_000)) {
    const first = random(1_000_000_000)
    const span: [number, number] = [first, first + random(1_000_000)]
    all.push(span)
    spans = joinSpans(spans, [span])
    t.ok(spans.length <= 64)
  }
  t.ok(all.every(([first, last]) => inSpans(spans, first) && inSpans(spans, last)))
  t.ok(spans.every(([first], n) => n === 0 || first > (spans[n - 1] as readonly [number, number])[1]))
})
