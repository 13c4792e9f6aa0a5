/** Writes the events of batches into a file of rows (event-rows.ts), several batches at once. */

import { open, rm } from 'node:fs/promises'
import { MIB } from '../config/setting-types.ts'
import { forEachAtOnce } from '../process/for-each-at-once.ts'
import type { ArchivedBatch } from './archive-batches.ts'
import type { RowsFile } from './engine-messages.ts'
import { EventRows } from './event-rows.ts'
import type { BatchReader } from './read-batch.ts'

const READS_AT_ONCE = 16
const WRITE_BYTES = MIB

export interface RowsRequest {
  readonly path: string
  readonly batches: readonly ArchivedBatch[]
  /** Throws if the work is no longer wanted. */
  readonly assertWanted: () => void
  /** A batch is in the file. */
  readonly written: (batch: ArchivedBatch) => void
}

/** @throws QueryFailed, StoreUnavailable; or what `assertWanted` throws. No read is under way then, and no file is left. */
export async function writeRows(reader: BatchReader, request: RowsRequest): Promise<RowsFile> {
  const { path, batches } = request
  const rows = new EventRows()
  const file = await open(path, 'w', 0o600)
  let bytes = 0
  try {
    let writing: Promise<void> = Promise.resolve()
    const write = (): Promise<void> => {
      const taken = rows.take()
      bytes += taken.length
      writing = writing.then(async () => {
        await file.writeFile(taken)
        rows.giveBack(taken)
      })
      return writing
    }
    const afterPiece = async (): Promise<void> => {
      if (rows.bytes >= WRITE_BYTES) await write()
    }
    await forEachAtOnce(batches, READS_AT_ONCE, async batch => {
      request.assertWanted()
      await reader.addTo(rows, batch, afterPiece)
      request.written(batch)
    })
    await write()
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await file.close()
  }
  return { path, count: rows.count, bytes, longest: rows.longest }
}
