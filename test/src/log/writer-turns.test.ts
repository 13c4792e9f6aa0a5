import { test } from 'tap'
import { WriterTurns } from '../../../src/log/writer-turns.ts'

test('a writer that is alone never waits', async t => {
  const turns = new WriterTurns()
  for (let now = 0; now < 100_000; now += 10) {
    t.equal(turns.waitMs(now), 0)
    turns.committed(now)
  }
})

test('a writer lets others go first that have committed of late, and no longer than they need', async t => {
  const turns = new WriterTurns()
  turns.otherCommitted('b', 60, 1_000)
  turns.committed(1_010)
  t.equal(turns.waitMs(1_010), 180, 'three round trips')
  t.equal(turns.waitMs(1_100), 90)
  t.equal(turns.waitMs(1_190), 0)
  turns.otherCommitted('b', 60, 1_100)
  t.equal(turns.waitMs(1_100), 0, 'it has had its turn')
})

test('of several, who has committed least of late goes first, and the others in their order', async t => {
  const turns = new WriterTurns()
  turns.otherCommitted('b', 10, 0)
  turns.otherCommitted('c', 20, 1)
  turns.committed(2)
  t.equal(turns.waitMs(2), 90, 'b has its turn, and c')
  turns.otherCommitted('b', 10, 12)
  t.equal(turns.waitMs(12), 60, 'c still has, from then on')
  turns.otherCommitted('b', 10, 14)
  t.equal(turns.waitMs(14), 60, 'who commits twice has no second turn')
  turns.otherCommitted('c', 20, 30)
  t.equal(turns.waitMs(30), 0)
  turns.committed(35)
  t.equal(turns.waitMs(35), 90)
})

test('who has not committed for five seconds has no turn, however many of them there are', async t => {
  const turns = new WriterTurns()
  for (let n = 0; n < 10; n++) turns.otherCommitted(`writer ${n}`, 500, n)
  turns.committed(10)
  t.equal(turns.waitMs(10), 10_000)
  t.equal(turns.waitMs(5_000), 5_010)
  t.equal(turns.waitMs(5_010), 0)
})

test('writers that see the same log never have their turn at once', async t => {
  const names = ['a', 'b', 'c', 'd']
  const writers = names.map(() => new WriterTurns())
  let now = 0
  const commit = (at: number) => {
    for (const [n, turns] of writers.entries())
      if (n === at) turns.committed(now)
      else turns.otherCommitted(names[at] as string, 10, now)
  }
  for (const at of names.keys()) commit(at)
  const committed: number[] = []
  while (committed.length < 40) {
    now += 1
    const free = writers.flatMap((turns, n) => (turns.waitMs(now) === 0 ? [n] : []))
    t.ok(free.length <= 1, `${free.length} at once`)
    for (const at of free) {
      committed.push(at)
      commit(at)
    }
  }
  t.same(committed.slice(0, 8), [0, 1, 2, 3, 0, 1, 2, 3])
})

test('who has not committed for long is not waited for', async t => {
  const turns = new WriterTurns()
  turns.otherCommitted('b', 60, 0)
  t.ok(turns.hasActiveOthers(5_000))
  turns.committed(10)
  turns.committed(6_000)
  t.equal(turns.waitMs(6_000), 0)
  t.notOk(turns.hasActiveOthers(6_000))
})

test('nobody is waited for longer than a second', async t => {
  const turns = new WriterTurns()
  turns.otherCommitted('c', 5_000, 0)
  turns.committed(100)
  t.equal(turns.waitMs(100), 1_000)
})

test('one that says that it waits goes first, before it was ever seen', async t => {
  const turns = new WriterTurns()
  turns.committed(1_000)
  turns.otherWaits('b', 200, 1_010)
  t.equal(turns.waitMs(1_010), 590)
})
