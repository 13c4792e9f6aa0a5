/** Reads and writes all bytes that were asked for: one call of the system may do fewer. */

import type { FileHandle } from 'node:fs/promises'

/** Fills `target` from `position` on. @throws Error if the file ends before, or if the disk cannot be read */
export async function readFully(file: FileHandle, target: Uint8Array, position: number): Promise<void> {
  // Node would read from the current position of the file.
  if (position < 0) throw new Error('it is cut short')
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done)
    if (bytesRead === 0) throw new Error('it is cut short')
    done += bytesRead
  }
}

/** Writes all bytes at `position`. Resolves to the position behind them. @throws Error of the disk */
export async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let done = 0
  while (done < bytes.length) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
  }
  return position + done
}
