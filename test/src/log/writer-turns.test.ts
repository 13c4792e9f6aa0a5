import { test } from 'tap'
import { WriterTurns } from '../../../src/log/writer-turns.ts'

test('a single writer never waits', async t => {
  const turns = new WriterTurns()
  for (let now = 0; now < 100_000; now += 10) {
    t.equal(turns.waitMs(now), 0)
    turns.committed(now)
  }
})

test('an active writer goes first after our commit, for the time of one turn', async t => {
  const turns = new WriterTurns()
  turns.otherCommitted('b', 60, 1_000)
  turns.committed(1_010)
  t.equal(turns.waitMs(1_010), 180, 'three round trips')
  t.equal(turns.waitMs(1_100), 90)
  t.equal(turns.waitMs(1_190), 0)
  turns.otherCommitted('b', 60, 1_100)
  t.equal(turns.waitMs(1_100), 0, 'it has had its turn')
})

test('the writer with the oldest last commit goes first, the others follow in that order', async t => {
  const turns = new WriterTurns()
  turns.otherCommitted('b', 10, 0)
  turns.otherCommitted('c', 20, 1)
  turns.committed(2)
  t.equal(turns.waitMs(2), 90, 'the turns of b and c')
  turns.otherCommitted('b', 10, 12)
  t.equal(turns.waitMs(12), 60, 'the turn of c, from the commit of b on')
  turns.otherCommitted('b', 10, 14)
  t.equal(turns.waitMs(14), 60, 'a second commit gives no second turn')
  turns.otherCommitted('c', 20, 30)
  t.equal(turns.waitMs(30), 0)
  turns.committed(35)
  t.equal(turns.waitMs(35), 90)
})

test('writers without a commit for five seconds have no turn', async t => {
  const turns = new WriterTurns()
  for (let n = 0; n < 10; n++) turns.otherCommitted(`writer ${n}`, 500, n)
  turns.committed(10)
  t.equal(turns.waitMs(10), 10_000)
  t.equal(turns.waitMs(5_000), 5_010)
  t.equal(turns.waitMs(5_010), 0)
})

test('writers that read the same log never have their turn at the same time', async t => {
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

test('a writer without a recent commit is not active', async t => {
  const turns = new WriterTurns()
  turns.otherCommitted('b', 60, 0)
  t.ok(turns.hasActiveOthers(5_000))
  turns.committed(10)
  turns.committed(6_000)
  t.equal(turns.waitMs(6_000), 0)
  t.notOk(turns.hasActiveOthers(6_000))
})

test('a turn is at most a second', async t => {
  const turns = new WriterTurns()
  turns.otherCommitted('c', 5_000, 0)
  turns.committed(100)
  t.equal(turns.waitMs(100), 1_000)
})

test('a writer with a waiting hint goes first, even before its first record', async t => {
  const turns = new WriterTurns()
  turns.committed(1_000)
  turns.otherWaits('b', 200, 1_010)
  t.equal(turns.waitMs(1_010), 590)
})
