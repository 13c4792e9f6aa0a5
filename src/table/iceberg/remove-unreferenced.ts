/** Removes the manifests and manifest lists that no snapshot has. */

import type { ObjectStore } from '../../store/store.ts'
import type { TableKeys } from '../table-keys.ts'
import { metadataKey, readManifestList } from './manifest.ts'
import type { TableMetadata } from './table-metadata.ts'
import { versionIn } from './write-snapshot.ts'

/**
 * Removes what no snapshot has, and no snapshot can get any more: files written for this version or an older one. A
 * snapshot has the manifests of the one before it, or new ones. So a manifest that was written before the oldest kept
 * snapshot is in that one, or in none. Manifests of lost attempts after that snapshot are found later.
 *
 * @param version of the metadata, the newest one
 * @throws StoreUnavailable, TableDamaged
 */
export async function removeUnreferenced(
  { store, keys }: { readonly store: ObjectStore; readonly keys: TableKeys },
  version: number,
  { snapshots }: TableMetadata,
): Promise<void> {
  const lists = new Set(snapshots.map(each => metadataKey(keys, each['manifest-list'])))
  const [oldest] = snapshots
  const oldestVersion =
    oldest === undefined ? version : versionIn(keys, metadataKey(keys, oldest['manifest-list']))
  if (oldestVersion === undefined) return
  const manifests = oldest === undefined ? [] : await readManifestList(store, keys, oldest['manifest-list'])
  const kept = new Set([...lists, ...manifests.map(each => metadataKey(keys, each.manifest_path))])
  const removed: string[] = []
  for await (const key of store.list(keys.metadata)) {
    const written = versionIn(keys, key)
    if (written === undefined || kept.has(key)) continue
    const last = key.startsWith(`${keys.metadata}snap-`) ? version : oldestVersion
    if (written <= last) removed.push(key)
  }
  if (removed.length > 0) await store.remove(removed)
}
