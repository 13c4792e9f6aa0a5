import { fdatasync, write as fsWrite, ftruncate } from 'node:fs'
import { promisify } from 'node:util'
import { syncDirectory } from '../../process/sync-directory.ts'

const writeOnce = promisify(fsWrite)

/** The file operations on which the durability of a log (disk-log.ts) depends. Tests replace them. */
export interface LogFiles {
  /** Writes all of `data`. */
  write(fd: number, data: Buffer, position: number): Promise<void>
  /** Resolves when all writes to the file are on disk (fdatasync). */
  sync(fd: number): Promise<void>
  truncate(fd: number, bytes: number): Promise<void>
  /** Resolves when the entries of the directory are on disk. */
  syncDirectory(path: string): Promise<void>
}

export const systemFiles: LogFiles = {
  write: async (fd, data, position) => {
    let written = 0
    while (written < data.length) {
      const { bytesWritten } = await writeOnce(fd, data, written, data.length - written, position + written)
      written += bytesWritten
    }
  },
  sync: promisify(fdatasync),
  truncate: promisify(ftruncate),
  syncDirectory,
}
