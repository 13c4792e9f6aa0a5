import type { Config } from '../config/config.ts'
import { ConfigInvalid } from '../errors.ts'
import { openStore, openStoreReader } from '../store/open-store.ts'
import type { ObjectStore, StoreReader } from '../store/store.ts'

/** Opens an existing archive for writing, and closes it when the work has ended. @throws as `openExisting` */
export async function withExisting<T>(
  config: Config,
  work: (store: ObjectStore) => Promise<T>,
  options: { readonly mustBeUsed?: boolean } = {},
): Promise<T> {
  const store = await openExisting(config, options)
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

/**
 * Opens an existing archive for writing.
 *
 * @param options.mustBeUsed it is none if nothing was ever archived there
 * @throws ConfigInvalid if it does not exist. @throws StoreUnavailable if it cannot be reached
 */
export async function openExisting(config: Config, { mustBeUsed = false } = {}): Promise<ObjectStore> {
  const reader = await openStoreReader(config)
  try {
    if (mustBeUsed) await assertUsed(reader, config)
  } finally {
    await reader.close()
  }
  const store = await openStore(config)
  await store.check()
  return store
}

/** @throws ConfigInvalid if nothing was ever archived there: the address may be that of something else */
export async function assertUsed(store: StoreReader, { archive: { prefix } }: Config): Promise<void> {
  for await (const _ of store.list(`${prefix}/`)) return
  throw new ConfigInvalid(
    `ARCHIVE_URL: there is no archive in ${store.description}: it has nothing below ${prefix}/. Name the archive.`,
  )
}
