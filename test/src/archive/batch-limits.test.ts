import { test } from 'tap'
import { canOpenBatch, fullBy, overflows } from '../../../src/archive/batch-limits.ts'

const LIMITS = { batchEventsMax: 3, batchBytesMax: 100, batchAgeMsMax: 1000 }

test('a batch is full at exactly its number of events', async t => {
  t.equal(fullBy({ events: 2, bytes: 20 }, LIMITS), undefined)
  t.equal(fullBy({ events: 3, bytes: 30 }, LIMITS), 'events')
  t.equal(fullBy({ events: 1, bytes: 10 }, { ...LIMITS, batchEventsMax: 1 }), 'events')
})

test('a batch is full at its number of bytes', async t => {
  t.equal(fullBy({ events: 2, bytes: 99 }, LIMITS), undefined)
  t.equal(fullBy({ events: 2, bytes: 100 }, LIMITS), 'bytes')
  t.equal(fullBy({ events: 1, bytes: 500 }, LIMITS), 'bytes')
})

test('an event that does not fit belongs in the next batch', async t => {
  t.equal(overflows({ events: 1, bytes: 60 }, 40, LIMITS), false)
  t.equal(overflows({ events: 1, bytes: 60 }, 41, LIMITS), true)
})

test('an empty batch takes any event', async t => {
  t.equal(overflows({ events: 0, bytes: 0 }, 1_000, LIMITS), false)
})

test('an empty batch is not full', async t => {
  t.equal(fullBy({ events: 0, bytes: 0 }, LIMITS), undefined)
})

test('eight batches of any size may be sealed, and more if they are small', async t => {
  const MIB = 1024 * 1024
  t.equal(canOpenBatch({ batches: 7, bytes: 700 * MIB, streaming: 0 }), true)
  t.equal(canOpenBatch({ batches: 8, bytes: 16 * MIB, streaming: 0 }), false)
  t.equal(canOpenBatch({ batches: 8, bytes: 16 * MIB - 1, streaming: 0 }), true)
  t.equal(canOpenBatch({ batches: 63, bytes: MIB, streaming: 0 }), true)
  t.equal(canOpenBatch({ batches: 64, bytes: MIB, streaming: 0 }), false)
})

test('at most two batches that are too large for memory are uploaded at once', async t => {
  t.equal(canOpenBatch({ batches: 2, bytes: 100, streaming: 1 }), true)
  t.equal(canOpenBatch({ batches: 2, bytes: 100, streaming: 2 }), false)
})
