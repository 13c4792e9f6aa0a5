import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { type DedupeConfig, type DedupeIndex, openDedupeIndex } from '../../src/archive/dedupe-index.ts'
import { idDigest, mintMessageId } from '../../src/message-id.ts'
import { range, silent, temporaryDirectory } from '../helper.ts'

const DAY_MS = 24 * 60 * 60 * 1000

async function open(t: Test, path: string, config: Partial<DedupeConfig> = {}): Promise<DedupeIndex> {
  const index = await openDedupeIndex(path, { dedupeWindowMs: DAY_MS, dedupeIdsMax: 1e6, ...config }, silent)
  t.teardown(() => index.close())
  return index
}

const digestsOf = (...ids: string[]) => Buffer.concat(ids.map(idDigest))

test('ids and objects are there once they were added, and after the index was closed', async t => {
  const path = temporaryDirectory(t)
  const index = await open(t, path)
  t.notOk(index.has(idDigest('a')))
  await index.addObject('key 1', digestsOf('a', 'b'))
  await index.addObject('key 2', digestsOf('c'))
  for (const id of ['a', 'b', 'c']) t.ok(index.has(idDigest(id)), id)
  t.ok(index.knowsObject('key 1'))
  t.notOk(index.knowsObject('key 3'))
  await index.close()

  const again = await open(t, path)
  t.ok(again.has(idDigest('a')))
  t.ok(again.knowsObject('key 2'))
  t.notOk(again.has(idDigest('d')))
})

test('ids of one family are told apart, in whatever order and company they come', async t => {
  const path = temporaryDirectory(t)
  const index = await open(t, path)
  const minted = range(9_000).map(() => mintMessageId(1_790_000_000_000))
  const others = range(100).map(n => `order-${n}`)
  const isAdded = (n: number) => n % 7 !== 3 && n !== 4_095
  const added = minted.filter((_, n) => isAdded(n))
  const shares = [0, 1, 2].map(share => [...added, ...others].filter((_, n) => n % 3 === share).reverse())
  for (const [n, ids] of shares.entries()) await index.addObject(`key ${n}`, digestsOf(...ids))
  const isRight = (each: DedupeIndex) =>
    minted.every((id, n) => each.has(idDigest(id)) === isAdded(n)) &&
    others.every(id => each.has(idDigest(id)))
  t.ok(isRight(index))
  await index.close()
  t.ok(isRight(await open(t, path)), 'also after it was closed')
})

test('two processes of one directory have an index each', async t => {
  const path = temporaryDirectory(t)
  const [first, second] = [await open(t, path), await open(t, path)]
  await first.addObject('key', digestsOf('a'))
  t.notOk(second.has(idDigest('a')))
})

test('past the bound the oldest ids go, and no others', async t => {
  const index = await open(t, temporaryDirectory(t), { dedupeIdsMax: 1_000 })
  const idsOf = (n: number) => range(100).map(i => `${n}-${i}`)
  for (const n of range(40)) await index.addObject(`key ${n}`, digestsOf(...idsOf(n)))
  const knows = (n: number) => idsOf(n).every(id => index.has(idDigest(id)))
  t.ok(range(40).slice(-10).every(knows), 'the last 1,000 are there')
  t.notOk(range(40).slice(0, 20).some(knows), 'and at most 2,000')
  t.ok(index.remembersSince > Date.now() - DAY_MS, 'it says since when')
})

test('a clock that was ahead, and steps back, costs no id', async t => {
  const path = temporaryDirectory(t)
  const { now } = Date
  t.teardown(() => {
    Date.now = now
  })
  const setClock = (days: number) => {
    Date.now = () => now() + days * DAY_MS
  }
  setClock(10)
  let index = await open(t, path)
  await index.addObject('key 1', digestsOf('a'))
  setClock(12)
  await index.addObject('key 2', digestsOf('b'))
  setClock(0)
  t.ok(index.remembersSince <= Date.now() - DAY_MS, 'it claims to know no less than its window')
  await index.addObject('key 3', digestsOf('c'))
  await index.close()

  index = await open(t, path)
  setClock(0.5)
  await index.addObject('key 4', digestsOf('d'))
  for (const id of ['a', 'b', 'c', 'd']) t.ok(index.has(idDigest(id)), id)
  setClock(1.1)
  await index.addObject('key 5', digestsOf('e'))
  await index.close()
  index = await open(t, path)
  t.notOk(index.has(idDigest('a')), 'and the oldest go when their window is over')
  for (const id of ['b', 'c', 'd', 'e']) t.ok(index.has(idDigest(id)), id)
})

test('an index that is damaged is made anew', async t => {
  const path = temporaryDirectory(t)
  const index = await open(t, path)
  await index.addObject('key', digestsOf('a'))
  await index.close()
  writeFileSync(join(path, '0', 'data.mdb'), Buffer.alloc(64 * 1024, 'damaged'))
  const again = await open(t, path)
  t.notOk(again.knowsObject('key'))
  await again.addObject('key', digestsOf('a'))
  t.ok(again.has(idDigest('a')))
})
