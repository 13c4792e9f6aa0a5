import type { ObjectStore } from '../store/store.ts'
import { logKeys } from './log-keys.ts'
import { LogReader } from './log-reader.ts'
import { headLength, isInline, type LogBatch } from './log-record.ts'
import { Watermark } from './watermark.ts'

/** Of a record: enough to know how long its head is, after which its bodies are. */
const BEGIN_BYTES = 64

/**
 * Removes the bytes of inline objects from folded records, which stay for an hour, or until an archiver runs.
 *
 * @param isAffected whether the object of this batch is to be changed or removed
 * @returns how many records were rewritten
 * @throws StoreUnavailable, LogDamaged
 */
export async function removeBodies(
  store: ObjectStore,
  prefix: string,
  isAffected: (batch: LogBatch, record: number) => boolean,
): Promise<number> {
  const keys = logKeys(prefix)
  const reader = new LogReader(store, keys)
  const watermark = new Watermark(reader)
  await watermark.refresh()
  let removed = 0
  for await (const key of store.list(keys.records)) {
    const number = Number(key.slice(keys.records.length))
    if (!(number <= watermark.number)) continue
    const { object: begin } = await store.read(key, { start: 0, length: BEGIN_BYTES })
    if (begin === undefined || headLength(number, begin.body) === begin.size) continue
    const { record } = await reader.record(number)
    if (record === undefined || !record.batches.some(batch => isInline(batch) && isAffected(batch, number)))
      continue
    const bytes = await reader.wholeRecord(number)
    if (bytes === undefined || bytes.length === record.headBytes) continue
    await store.replace(key, Buffer.from(bytes.subarray(0, record.headBytes)))
    removed++
  }
  return removed
}
