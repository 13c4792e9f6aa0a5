import t from 'tap'
import { readLines } from '../../../src/http/request-events.ts'

const MIB = 1024 * 1024
/** Far more memory than a thousand lines take, and far less than four million lines take. */
const MEMORY_BYTES_MAX = 64 * MIB

t.test('lines above the limit take no memory', async t => {
  const text = Buffer.alloc(8 * MIB, '1\n')
  const before = process.memoryUsage.rss()
  t.throws(() => readLines(text, 1000), { code: 'FRQ_BATCH_TOO_LONG' })
  t.ok(process.memoryUsage.rss() - before < MEMORY_BYTES_MAX)
})

t.test('empty lines do not count as events of a batch', async t => {
  t.equal(readLines(Buffer.from('{}\n\n \r\n'.repeat(1000)), 1000).length, 1000)
  t.throws(() => readLines(Buffer.from('{}\n'.repeat(1001)), 1000), { code: 'FRQ_BATCH_TOO_LONG' })
})
