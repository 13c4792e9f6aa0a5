/** Brings the Iceberg metadata of the table up to a state of its log. */

import { HOUR_MS } from '../table-keys.ts'
import type { TableState } from '../table-state.ts'
import { type Base, commitVersions, type IcebergParts } from './commit-version.ts'
import {
  entryOf,
  reflected,
  type SnapshotLimits,
  type TableMetadata,
  withoutOldSnapshots,
  withSnapshot,
} from './table-metadata.ts'
import { writeSnapshot } from './write-snapshot.ts'

/** Snapshots expire, and leftovers are removed, at each of these versions: the work is a listing of all metadata. */
const EXPIRY_VERSIONS = 16

/** Long enough for a catalog that names a version, and is told of the newest one once an hour. */
export const OLD_VERSIONS_KEPT_MS = 24 * HOUR_MS
/** For readers that began with an older snapshot, or that ask for one. */
export const SNAPSHOTS_KEPT: SnapshotLimits = { keptMs: 5 * 24 * HOUR_MS, keptMax: 500 }

/**
 * Writes a version with the files and columns of `state`, unless there is one of this state or a later one. Staged
 * files are left out. Several processes may call it at once, with different states.
 *
 * @throws StoreUnavailable: call it again, and it goes on; TableDamaged
 */
export async function commitIceberg(parts: IcebergParts, state: TableState): Promise<void> {
  const { log } = state
  if (log === undefined) return
  const change = async (base: Base): Promise<TableMetadata | undefined> => {
    if (base.metadata !== undefined && entryOf(base.metadata) >= state.number) return undefined
    return nextMetadata(parts, base, { ...state, log })
  }
  await commitVersions(parts, change, {
    oldVersionsKeptMs: OLD_VERSIONS_KEPT_MS,
    isCleaning: ({ version }, hasCommitted) => hasCommitted && version % EXPIRY_VERSIONS === 0,
  })
}

async function nextMetadata(
  parts: IcebergParts,
  base: Base,
  { log, number, files, columns }: TableState & { readonly log: string },
): Promise<TableMetadata> {
  const version = base.version + 1
  const metadata = reflected(parts.keys, base.metadata, {
    log,
    entry: number,
    location: parts.location,
    columns,
  })
  const present = Array.from(files.values()).filter(({ isStaged }) => isStaged !== true)
  const byUri = new Map(present.map(file => [parts.toUri(file.path), file]))
  const snapshot = await writeSnapshot(parts, metadata, version, { files: byUri, columns })
  const next = snapshot === undefined ? metadata : withSnapshot(metadata, snapshot)
  return version % EXPIRY_VERSIONS === 0 ? withoutOldSnapshots(next, SNAPSHOTS_KEPT) : next
}
