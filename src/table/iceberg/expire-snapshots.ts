/** Removes old snapshots of the Iceberg table, and the metadata that only they have. Data files stay. */

import { OLD_VERSIONS_KEPT_MS, SNAPSHOTS_KEPT } from './commit-iceberg.ts'
import { type Base, commitVersions, type IcebergParts } from './commit-version.ts'
import {
  type SnapshotLimits,
  type TableMetadata,
  withoutOldSnapshots,
  withSnapshot,
} from './table-metadata.ts'
import { writeSnapshotWithoutDeleted } from './write-snapshot.ts'

/**
 * Removes snapshots beyond the limits, and all leftovers of interrupted writers. The current snapshot stays.
 *
 * @throws StoreUnavailable: call it again, and it goes on; TableDamaged
 */
export function expireSnapshots(parts: IcebergParts, limits: SnapshotLimits = SNAPSHOTS_KEPT): Promise<void> {
  const change = async ({ metadata }: Base): Promise<TableMetadata | undefined> => {
    if (metadata === undefined) return undefined
    const next = withoutOldSnapshots(metadata, limits)
    return next === metadata ? undefined : next
  }
  return commitVersions(parts, change, { oldVersionsKeptMs: OLD_VERSIONS_KEPT_MS, isCleaning: () => true })
}

/**
 * Removes all metadata that names a file which is not in the table any more: snapshots before the current one, their
 * manifests, and older versions of the metadata. Readers that have begun with them fail, and have to begin again.
 * `commitIceberg` comes first, with a state that does not have the file.
 *
 * @throws StoreUnavailable: call it again, and it goes on; TableDamaged
 */
export function dropHistory(parts: IcebergParts): Promise<void> {
  const change = async ({ version, metadata }: Base): Promise<TableMetadata | undefined> => {
    if (metadata === undefined) return undefined
    const updated = { ...metadata, 'last-updated-ms': Math.max(Date.now(), metadata['last-updated-ms']) }
    const snapshot = await writeSnapshotWithoutDeleted(parts, updated, version + 1)
    const next = snapshot === undefined ? metadata : withSnapshot(updated, snapshot)
    const last = withoutOldSnapshots(next, { keptMs: 0, keptMax: 1 })
    return last === metadata && metadata['metadata-log'].length === 0 ? undefined : last
  }
  return commitVersions(parts, change, { oldVersionsKeptMs: 0, isCleaning: () => true })
}
