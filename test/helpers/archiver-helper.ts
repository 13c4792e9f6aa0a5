/** Archivers in the process of a test. */
import { join } from 'node:path'
import type { Test } from 'tap'
import { Archiver } from '../../src/archive/archiver.ts'
import type { Config } from '../../src/config/config.ts'
import { openIdIndex } from '../../src/dedupe/open-id-index.ts'
import type { Queue } from '../../src/queue/queue.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { silent } from './helper.ts'

/**
 * Opens an archiver with the store and the index of its settings, and does not start it. All three are closed at the
 * end of the test; the queue belongs to the caller.
 */
export async function openArchiver(
  t: Test,
  config: Config,
  queue: Pick<Queue, 'consume'>,
): Promise<{ archiver: Archiver; store: ObjectStore }> {
  const store = await openStore(config)
  t.teardown(() => store.close())
  const index = await openIdIndex(join(config.dataDir, 'dedupe'), config, silent)
  t.teardown(() => index.close())
  const archiver = new Archiver({ queue, store, index, config, log: silent })
  t.teardown(() => archiver.stop())
  return { archiver, store }
}
