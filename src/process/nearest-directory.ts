import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * @returns `path` if it is a directory, else its nearest parent that exists
 * @throws Error if the nearest existing path is a file, or access is denied
 */
export async function nearestDirectory(path: string): Promise<string> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw error
  })
  if (found === undefined) return nearestDirectory(dirname(path))
  if (!found.isDirectory()) throw new Error(`${path} is not a directory`)
  return path
}
