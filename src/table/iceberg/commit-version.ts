/** Commits a version of the metadata, among other writers that do the same. */

import { StoreUnavailable, TableDamaged } from '../../errors.ts'
import { metadataKey } from './manifest.ts'
import { MetadataVersions } from './metadata-versions.ts'
import { removeUnreferenced } from './remove-unreferenced.ts'
import { decodeMetadata, encodeMetadata, type TableMetadata } from './table-metadata.ts'
import type { SnapshotParts } from './write-snapshot.ts'

/** Each try that fails is one in which another writer was faster. */
const TRIES_MAX = 50
/** Of the versions that are kept. Their age is limited too. */
const OLD_VERSIONS_MAX = 200

/** `location` and `toUri` are those of `icebergLocation`. */
export interface IcebergParts extends SnapshotParts {
  readonly location: string
  /** When aborted, no further version is begun, and the call rejects with the reason. */
  readonly stopping?: AbortSignal | undefined
}

export interface Base {
  /** 0: there is none yet. */
  readonly version: number
  readonly metadata: TableMetadata | undefined
}

export interface VersionOptions {
  /** Milliseconds for which the versions before the current one are kept. */
  readonly oldVersionsKeptMs: number
  /** Whether to remove now what no kept snapshot needs. */
  isCleaning(base: Base, hasCommitted: boolean): boolean
}

/**
 * Commits what `change` makes of the newest version, until `change` finds nothing to do. Then sees to it that the hint
 * for readers is right.
 *
 * @param change returns undefined if there is nothing to do. It is called again if another writer was faster
 * @throws StoreUnavailable, TableDamaged
 */
export async function commitVersions(
  parts: IcebergParts,
  change: (base: Base) => Promise<TableMetadata | undefined>,
  { oldVersionsKeptMs, isCleaning }: VersionOptions,
): Promise<void> {
  const versions = new MetadataVersions(parts.store, parts.keys)
  let hasCommitted = false
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    parts.stopping?.throwIfAborted()
    const base = await newestOf(parts, versions)
    try {
      const next = await change(base)
      if (next === undefined) {
        await versions.publishHint()
        if (isCleaning(base, hasCommitted)) await clean(parts, versions, base)
        return
      }
      const log = metadataLog(parts, versions, base, oldVersionsKeptMs)
      const bytes = encodeMetadata({ ...next, 'metadata-log': log })
      await versions.create({ version: base.version + 1, bytes })
      hasCommitted = true
    } catch (error) {
      // What this version names may have been removed since, if it is not the newest one any more.
      if (!(error instanceof TableDamaged) || (await versions.isNewest(base.version))) throw error
    }
  }
  throw new StoreUnavailable(`Other writers below ${parts.keys.metadata} were faster ${TRIES_MAX} times.`)
}

async function newestOf({ keys }: IcebergParts, versions: MetadataVersions): Promise<Base> {
  const newest = await versions.newest()
  if (newest === undefined) return { version: 0, metadata: undefined }
  const { version, bytes } = newest
  return { version, metadata: decodeMetadata(keys, version, bytes) }
}

/** The versions before the next one that are kept, for readers that have just begun with them. */
function metadataLog(
  { toUri }: IcebergParts,
  versions: MetadataVersions,
  { version, metadata }: Base,
  keptMs: number,
): TableMetadata['metadata-log'] {
  if (metadata === undefined || keptMs === 0) return []
  const base = {
    'metadata-file': toUri(versions.key(version)),
    'timestamp-ms': metadata['last-updated-ms'],
  }
  const since = Date.now() - keptMs
  const kept = metadata['metadata-log'].filter(each => each['timestamp-ms'] > since)
  return [...kept, base].slice(-OLD_VERSIONS_MAX)
}

async function clean(
  parts: IcebergParts,
  versions: MetadataVersions,
  { version, metadata }: Base,
): Promise<void> {
  if (metadata === undefined) return
  const kept = new Set(metadata['metadata-log'].map(each => metadataKey(parts.keys, each['metadata-file'])))
  await versions.removeBelow(version, key => kept.has(key))
  await removeUnreferenced(parts, version, metadata)
}
