import { open } from 'node:fs/promises'

/** Fsyncs a directory: resolves when its entries are on disk. @throws the system's error */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
