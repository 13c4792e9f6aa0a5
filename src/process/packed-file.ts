/** The files that the executable has in itself (binary/build.ts). A checkout and a build have them on disk. */

import { getRawAsset, isSea } from 'node:sea'

/** @returns the file, not to be written to; undefined if this is not the executable, or it has no such file */
export function packedFile(name: string): Buffer | undefined {
  if (!isSea()) return undefined
  try {
    return Buffer.from(getRawAsset(name) as ArrayBuffer)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SINGLE_EXECUTABLE_APPLICATION_ASSET_NOT_FOUND')
      throw error
    return undefined
  }
}
