import { test } from 'tap'
import { Histogram } from '../../../src/process/histogram.ts'

test('a value is counted in the first bucket whose bound is not below it', t => {
  const histogram = new Histogram([1, 10, 100])
  for (const value of [0, 1, 1.5, 10, 11, 100, 101, Number.POSITIVE_INFINITY]) histogram.observe(value)
  t.same([...histogram.counts], [2, 2, 2, 2])
  t.equal(histogram.count, 8)
  t.end()
})

test('sum adds up all values', t => {
  const histogram = new Histogram([1])
  histogram.observe(0.25)
  histogram.observe(4)
  t.equal(histogram.sum, 4.25)
  t.end()
})
