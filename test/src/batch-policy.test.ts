import { test } from 'tap'
import { fullBy, overflows } from '../../src/archive/batch-policy.ts'

const LIMITS = { batchEventsMax: 3, batchBytesMax: 100, batchAgeMsMax: 1000 }

test('a batch is full at exactly its events', async t => {
  t.equal(fullBy({ events: 2, bytes: 20 }, LIMITS), undefined)
  t.equal(fullBy({ events: 3, bytes: 30 }, LIMITS), 'events')
  t.equal(fullBy({ events: 1, bytes: 10 }, { ...LIMITS, batchEventsMax: 1 }), 'events')
})

test('a batch is full at its bytes', async t => {
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
