import { test } from 'tap'
import { decodeHead, encodeRecord, inlineBody, type RecordDraft } from '../../../src/log/log-record.ts'
import { range } from '../../helpers/helper.ts'
import { batchOf } from '../../helpers/log-helper.ts'

const HASH = 'ab'.repeat(32)

function draftOf(batches: RecordDraft['batches'], more: Partial<RecordDraft> = {}): RecordDraft {
  return {
    log: 'log',
    number: 7,
    previous: HASH,
    nonce: 'nonce',
    writer: 'writer',
    done: 3,
    waiting: true,
    roundTripMs: 60,
    digest: 2,
    batches,
    voids: [{ number: 5, batch: 0 }],
    ...more,
  }
}

const BATCHES = [
  batchOf(['a', 'b']),
  batchOf(['c'], { staged: 'p/_frequency/staged/1' }),
  batchOf(['d', 'e', 'f']),
]

test('a decoded record equals the encoded one, with its objects', async t => {
  const { bytes, record } = encodeRecord(draftOf(BATCHES))
  const decoded = decodeHead(7, bytes)
  t.equal(decoded.hash, record.hash)
  t.match(decoded, {
    log: 'log',
    previous: HASH,
    nonce: 'nonce',
    done: 3,
    waiting: true,
    voids: [{ number: 5 }],
  })
  for (const [n, batch] of BATCHES.entries()) {
    const { body, ids, ...rest } = batch
    const own = decoded.batches[n]
    t.match(own, rest)
    t.ok(own?.ids.equals(ids))
    if (own !== undefined && body !== undefined) t.ok(inlineBody(decoded, own, bytes).equals(body))
  }
})

test('a head can be decoded without the bytes after it', async t => {
  const { bytes, record } = encodeRecord(draftOf(BATCHES))
  t.equal(decodeHead(7, bytes.subarray(0, record.headBytes)).hash, record.hash)
})

test('a record whose head is cut short or garbled is refused with its number', async t => {
  const { bytes, record } = encodeRecord(draftOf(BATCHES))
  const damaged = { code: 'FRQ_LOG_DAMAGED', message: /^The log record 7 cannot be used: / }
  for (const length of range(record.headBytes))
    t.throws(() => decodeHead(7, bytes.subarray(0, length)), damaged)
  for (const at of range(record.headBytes)) {
    const garbled = Buffer.from(bytes)
    garbled[at] = (garbled[at] as number) ^ 0x40
    t.throws(() => decodeHead(7, garbled), damaged)
  }
})

test('a record with another number, or of a newer version, is refused', async t => {
  const { bytes } = encodeRecord(draftOf(BATCHES))
  t.throws(() => decodeHead(8, bytes), {
    message: /^The log record 8 cannot be used: its head has the number 7/,
  })
  const newer = Buffer.from(bytes)
  newer.write('FRQLOG02', 'latin1')
  t.throws(() => decodeHead(7, newer), { message: /newer version of frequency wrote it/ })
})

test('a repaired record has the hash of the record that it stands for', async t => {
  const standsFor = 'cd'.repeat(32)
  const { bytes, record } = encodeRecord(draftOf(BATCHES, { standsFor }))
  t.equal(record.hash, standsFor)
  t.equal(decodeHead(7, bytes).hash, standsFor)
})
