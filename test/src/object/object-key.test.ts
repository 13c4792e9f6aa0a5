import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { dayPrefixes, isObjectKey, objectKey } from '../../../src/object/object-key.ts'
import { range } from '../../helpers/helper.ts'

const NONCE = '0f8fad5b-d9cb-469f-a165-70867728950e'

test('a key is the partition, the time of the first event and a nonce', async t => {
  t.match(
    objectKey('frequency', new Date('2026-11-24T13:05:07.123Z'), NONCE, '.ndjson.gz'),
    /^frequency\/dt=2026-11-24\/hour=13\/batch_20261124T130507123Z_[0-9a-f]{8,}\.ndjson\.gz$/,
  )
})

test('a key is in UTC', async t => {
  const key = objectKey('p', new Date('2026-12-31T23:59:59.999-05:30'), NONCE, '.json')
  t.match(key, /^p\/dt=2027-01-01\/hour=05\/batch_20270101T052959999Z_[0-9a-f]+\.json$/)
})

test('a prefix may have parts', async t => {
  t.ok(objectKey('team a/web', new Date(), NONCE, '.ndjson').startsWith('team a/web/dt='))
})

test('batches with the same time have different keys', async t => {
  const receivedAt = new Date()
  const keys = range(10_000).map(() => objectKey('p', receivedAt, randomUUID(), '.ndjson'))
  t.equal(new Set(keys).size, 10_000)
})

test('keys of archived objects differ from other keys', async t => {
  for (const extension of ['.ndjson', '.ndjson.gz', '.json.zst']) {
    t.ok(isObjectKey(objectKey('some/prefix', new Date(), NONCE, extension)))
  }
  for (const key of ['p/_frequency/probe-1', 'p/dt=2026-11-24/hour=13/notes.txt', 'dt=2026-11-24', '']) {
    t.notOk(isObjectKey(key), key)
  }
})

test('each UTC day between two times has a prefix', async t => {
  const days = dayPrefixes('p', new Date('2026-12-30T23:59:59.999Z'), new Date('2027-01-01T00:00:00.000Z'))
  t.same(days, ['p/dt=2026-12-30/', 'p/dt=2026-12-31/', 'p/dt=2027-01-01/'])
  t.same(dayPrefixes('p', new Date('2026-01-01'), new Date('2027-02-05')).length, 401)
  t.same(dayPrefixes('p', new Date('0001-01-01'), new Date('9999-12-31')), ['p/'])
})

test('keys sort by time', async t => {
  const times = range(2_000).map(i => new Date(Date.UTC(2026, 10, 24, 22) + i * 61_001))
  const keys = times.map(time => objectKey('p', time, NONCE, '.ndjson'))
  t.same(keys, keys.toSorted())
})
