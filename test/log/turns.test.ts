import { test } from 'tap'
import { Turns } from '../../src/log/turns.ts'

test('a writer that is alone never waits', async t => {
  const turns = new Turns()
  for (let now = 0; now < 100_000; now += 10) {
    t.equal(turns.waitMs(now), 0)
    turns.committed(now)
  }
})

test('a writer lets others go first that have committed of late, and no longer than they need', async t => {
  const turns = new Turns()
  turns.otherSeen('b', 60, 1_000)
  turns.committed(1_010)
  t.equal(turns.waitMs(1_010), 180, 'three round trips')
  t.equal(turns.waitMs(1_100), 90)
  t.equal(turns.waitMs(1_190), 0)
  turns.otherSeen('b', 60, 1_100)
  t.equal(turns.waitMs(1_100), 0, 'it has had its turn')
})

test('who has not committed for long is not waited for', async t => {
  const turns = new Turns()
  turns.otherSeen('b', 60, 0)
  turns.committed(10)
  turns.committed(6_000)
  t.equal(turns.waitMs(6_000), 0)
})

test('the slowest of the others is waited for, and at most a second', async t => {
  const turns = new Turns()
  turns.otherSeen('b', 10, 0)
  turns.otherSeen('c', 5_000, 0)
  turns.committed(100)
  t.equal(turns.waitMs(100), 1_000)
  turns.otherSeen('c', 5_000, 200)
  t.equal(turns.waitMs(110), 20)
})

test('one that says that it waits goes first, before it was ever seen', async t => {
  const turns = new Turns()
  turns.committed(1_000)
  turns.otherWaits('b', 300, 1_010)
  t.equal(turns.waitMs(1_010), 890)
})
