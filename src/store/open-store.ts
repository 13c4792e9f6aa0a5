import type { Config } from '../config/config.ts'
import type { ObjectStore, StoreReader } from './store.ts'

/**
 * Opens the store that the config names, and readies it for writing.
 *
 * @throws ConfigInvalid where it can be told already that it will not work.
 */
export async function openStore(config: Config): Promise<ObjectStore> {
  if (config.archive.kind === 's3') {
    const { openS3Store } = await import('./s3.ts')
    return openS3Store(config.archive, config)
  }
  const { openDirectoryStore } = await import('./directory.ts')
  return openDirectoryStore(config.archive)
}

/**
 * Opens the store that the config names, to read it: nothing is made, probed or cleared there.
 *
 * @throws ConfigInvalid where a setting has to be mended first.
 * @throws StoreUnavailable where it cannot be reached now.
 */
export async function openStoreReader(
  config: Pick<Config, 'archive' | 's3ForcePathStyle' | 's3IdleMsMax'>,
): Promise<StoreReader> {
  if (config.archive.kind === 's3') {
    const { openS3Reader } = await import('./s3.ts')
    return openS3Reader(config.archive, config)
  }
  const { openDirectoryReader } = await import('./directory.ts')
  return openDirectoryReader(config.archive)
}
