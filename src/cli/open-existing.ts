import type { Config } from '../config/config.ts'
import { openStore, openStoreReader } from '../store/open-store.ts'
import type { ObjectStore } from '../store/store.ts'

/** Opens an existing archive for writing, and closes it when the work has ended. @throws as `openExisting` */
export async function withExisting<T>(config: Config, work: (store: ObjectStore) => Promise<T>): Promise<T> {
  const store = await openExisting(config)
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

/** Opens an existing archive for writing. @throws ConfigInvalid if it does not exist. @throws StoreUnavailable if it cannot be reached */
export async function openExisting(config: Config): Promise<ObjectStore> {
  const reader = await openStoreReader(config)
  await reader.close()
  const store = await openStore(config)
  await store.check()
  return store
}
