import { constants, createWriteStream } from 'node:fs'
import { copyFile, link, rm, stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { ObjectNotFound, StoreUnavailable } from '../errors.ts'
import type { StoreReader } from './store.ts'

const READABLE_BY_OTHERS = 0o004

/**
 * Makes a file of an object: a link if it is a file of this machine that others may read, else a copy.
 *
 * @returns its length, in bytes
 * @throws ObjectNotFound, StoreUnavailable
 */
export async function fetchObject(store: StoreReader, key: string, path: string): Promise<number> {
  const local = store.localPath(key)
  try {
    if (local === undefined) await pipeline(await store.get(key), createWriteStream(path))
    else await linkOrCopy(local, path)
    return (await stat(path)).size
  } catch (error) {
    await rm(path, { force: true })
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' && local !== undefined) throw new ObjectNotFound(key)
    if (error instanceof ObjectNotFound || error instanceof StoreUnavailable) throw error
    throw new StoreUnavailable(`${key} was not read to its end: ${message}`, { cause: error })
  }
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  if (((await stat(from)).mode & READABLE_BY_OTHERS) !== 0) {
    try {
      await link(from, to)
      return
    } catch (error) {
      // It may be on another file system, or belong to another user.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw error
    }
  }
  await copyFile(from, to, constants.COPYFILE_FICLONE)
}
