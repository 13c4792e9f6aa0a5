import type { Config } from '../config/config.ts'
import type { ObjectStore } from '../store/store.ts'
import { icebergLocation } from '../table/iceberg/iceberg-location.ts'
import type { TablePublisher } from '../table/staged-files.ts'
import { tableKeys } from '../table/table-keys.ts'

/** Commits a table to Iceberg. */
export function publisherOf(store: ObjectStore, { archive }: Pick<Config, 'archive'>): TablePublisher {
  const keys = tableKeys(archive.prefix)
  const parts = { store, keys, ...icebergLocation(archive, keys) }
  return async (table, { dropsHistory }) => {
    // Only here: Avro is loaded by what commits alone.
    const { commitIceberg } = await import('../table/iceberg/commit-iceberg.ts')
    await commitIceberg(parts, table)
    if (!dropsHistory) return
    const { dropHistory } = await import('../table/iceberg/expire-snapshots.ts')
    await dropHistory(parts)
  }
}
