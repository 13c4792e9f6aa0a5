import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * The directory itself, or the nearest one above it that is there.
 *
 * @throws Error where a file is in its place, or it may not be looked at.
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
