import type { Config } from '../config/config.ts'
import type { ObjectStore, StoreReader } from './store.ts'

/**
 * Opens the store that the config names, for writing. If an S3 server does not answer yet, it resolves nonetheless.
 *
 * @throws ConfigInvalid if a setting has to be corrected first.
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
 * Opens the store that the config names, for reading. It writes and removes nothing there.
 *
 * @throws ConfigInvalid if a setting has to be corrected first.
 * @throws StoreUnavailable if the store cannot be reached now.
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
