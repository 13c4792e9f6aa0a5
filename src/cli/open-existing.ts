import type { Config } from '../config/config.ts'
import { openStore, openStoreReader } from '../store/open-store.ts'
import type { ObjectStore } from '../store/store.ts'

/** Opens an existing archive for writing. @throws ConfigInvalid if it does not exist. @throws StoreUnavailable if it cannot be reached */
export async function openExisting(config: Config): Promise<ObjectStore> {
  const reader = await openStoreReader(config)
  await reader.close()
  const store = await openStore(config)
  await store.check()
  return store
}
