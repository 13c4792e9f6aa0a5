import { ObjectNotFound } from '../errors.ts'
import { fetchObject } from '../store/fetch-object.ts'
import type { StoreReader } from '../store/store.ts'
import type { TableFile } from './table-entry.ts'

/**
 * Makes a local file of a file of the table. One that is staged may have been moved to its key since its entry was read.
 *
 * @returns its length, in bytes; undefined if it is gone
 * @throws StoreUnavailable
 */
export async function fetchTableFile(
  store: StoreReader,
  { key, path, isStaged }: TableFile,
  to: string,
): Promise<number | undefined> {
  for (const from of isStaged === true ? [path, key] : [path]) {
    try {
      return await fetchObject(store, from, to)
    } catch (error) {
      if (!(error instanceof ObjectNotFound)) throw error
    }
  }
  return undefined
}
