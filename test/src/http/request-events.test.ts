import t from 'tap'
import { readLines } from '../../../src/http/request-events.ts'

const MIB = 1024 * 1024
/** Far more than finding a thousand lines takes, and far less than keeping four million. */
const MEMORY_BYTES_MAX = 64 * MIB

t.test('lines past the limit take no memory', async t => {
  const text = Buffer.alloc(8 * MIB, '1\n')
  const before = process.memoryUsage.rss()
  t.throws(() => readLines(text, 1000), { code: 'FRQ_BATCH_TOO_LONG' })
  t.ok(process.memoryUsage.rss() - before < MEMORY_BYTES_MAX)
})

t.test('a thousand lines are a batch, however many empty ones stand between them', async t => {
  t.equal(readLines(Buffer.from('{}\n\n \r\n'.repeat(1000)), 1000).length, 1000)
  t.throws(() => readLines(Buffer.from('{}\n'.repeat(1001)), 1000), { code: 'FRQ_BATCH_TOO_LONG' })
})
