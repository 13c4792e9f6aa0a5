import type { VoidBatch } from '../dedupe/id-index.ts'
import type { CommitLog } from './commit-log.ts'

/**
 * Appends a record that makes a batch void. Follows the log first: if the batch's record is folded, the index reads the
 * manifests, and forgets the ids of void batches.
 *
 * @param isVoid whether no record is needed any more; called when all records are applied
 * @param done all own records up to this one are settled
 */
export async function appendVoid(
  commitLog: Pick<CommitLog, 'follow' | 'append'>,
  batch: VoidBatch,
  isVoid: () => boolean,
  done: () => number,
): Promise<void> {
  await commitLog.follow()
  await commitLog.append(async () =>
    isVoid() ? undefined : { batches: [], voids: [batch], done: done(), waiting: false },
  )
}
