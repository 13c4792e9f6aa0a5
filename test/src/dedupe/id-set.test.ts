import { test } from 'tap'
import { IdSet } from '../../../src/dedupe/id-set.ts'
import { idDigest, mintMessageId } from '../../../src/event/message-id.ts'
import { elapsed, range } from '../../helpers/helper.ts'

const COUNT = 50_000
const CHOSEN: Record<string, (n: number) => string> = {
  'UUIDs that count up at their end': n => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`,
  'UUIDs that differ at their beginning alone': n =>
    `${n.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`,
  words: n => `order-${n}`,
}

for (const [what, idOf] of Object.entries(CHOSEN)) {
  test(`a set has exactly the ids that were added, and stays fast: ${what}`, async t => {
    const digests = range(COUNT).map(n => idDigest(idOf(n)))
    const set = new IdSet()
    const adding = async () => {
      for (const digest of digests) set.add(digest)
    }
    const ms = await elapsed(adding())
    t.equal(set.size, COUNT)
    t.ok(digests.every(digest => set.has(digest)))
    t.notOk(range(1_000).some(n => set.has(idDigest(`other-${n}`))))
    t.same([...set].slice(0, 100), digests.slice(0, 100))
    t.ok(ms < 10_000, 'if the ids collided, this would take minutes')
  })
}

test('an id is added once', async t => {
  const set = new IdSet()
  t.ok(set.add(idDigest('a')))
  t.notOk(set.add(idDigest('a')))
  t.equal(set.size, 1)
})

test('different ids have different digests', async t => {
  const uuid = '01a20c50-e03a-77f7-a7ab-9ed5fad845a3'
  const ids = [uuid, uuid.toUpperCase(), `${uuid} `, uuid.replaceAll('-', ''), '', 'a', 'A', 'ä', 'a\u0308']
  t.equal(new Set(ids.map(id => idDigest(id).toString('hex'))).size, ids.length)
})

test('the digest of an id does not depend on the ids that were minted before', async t => {
  const uuid = mintMessageId(Date.now())
  const family = uuid.slice(0, -3)
  const ids = [
    uuid,
    `${family}abc`,
    `${family}ABC`,
    `${family}0x1`,
    `${family}-1 `,
    `${family}00g`,
    `${family}1e1`,
  ]
  const before = ids.map(id => idDigest(id).toString('hex'))
  mintMessageId(0)
  t.same(
    ids.map(id => idDigest(id).toString('hex')),
    before,
  )
  t.equal(before[0], uuid.replaceAll('-', ''))
  t.equal(new Set(before).size, ids.length)
})

test('minted ids are UUIDs of version 7 with their time: all different, and in order', async t => {
  const at = Date.UTC(2026, 10, 24, 13)
  const ids = [...range(10_000).map(() => at), at + 1, at].map(mintMessageId)
  t.equal(new Set(ids).size, ids.length)
  t.ok(ids.every(id => /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)))
  const times = ids.map(id => Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16))
  t.same([times[0], times.at(-2), times.at(-1)], [at, at + 1, at])
})

test('an id can be minted for any time that a Date can have', async t => {
  for (const [ms, time] of [
    [-1, 2 ** 48 - 1],
    [0, 0],
    [8.64e15, 8.64e15 % 2 ** 48],
  ] as const) {
    const id = mintMessageId(ms)
    t.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    t.equal(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16), time)
  }
})
