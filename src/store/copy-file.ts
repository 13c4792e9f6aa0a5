/** Copies files in the kernel: their bytes do not pass through this process. */

import { constants, ReadStream } from 'node:fs'
import { copyFile, open } from 'node:fs/promises'
import type { Readable } from 'node:stream'

/** The file that a stream reads from its beginning to its end, if nothing of it was read yet. */
export function wholeFileOf(body: Readable): string | undefined {
  if (!(body instanceof ReadStream) || typeof body.path !== 'string' || body.readableDidRead) return undefined
  const { start, end } = body as ReadStream & { readonly start?: number; readonly end?: number }
  return (start ?? 0) === 0 && (end ?? Number.POSITIVE_INFINITY) === Number.POSITIVE_INFINITY
    ? body.path
    : undefined
}

/** @param body the stream of the file, which may be destroyed meanwhile @returns bytes */
export async function copySynced(from: string, to: string, body: Readable): Promise<number> {
  // Nobody reads the stream, so nobody else hears of its errors.
  body.on('error', () => {})
  await copyFile(from, to, constants.COPYFILE_EXCL)
  const copy = await open(to, 'r+')
  try {
    await copy.sync()
    if (body.destroyed) throw body.errored ?? new Error('its source was closed')
    return (await copy.stat()).size
  } finally {
    await copy.close()
  }
}
