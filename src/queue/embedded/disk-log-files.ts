import { fdatasync, write as fsWrite, ftruncate } from 'node:fs'
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'

const writeOnce = promisify(fsWrite)

/** What a log on disk (disk-log.ts) asks of the system for its files to be durable. */
export interface LogFiles {
  /** Writes all of it. */
  write(fd: number, data: Buffer, position: number): Promise<void>
  /** Resolves when what was written is on disk. */
  sync(fd: number): Promise<void>
  truncate(fd: number, bytes: number): Promise<void>
  /** Resolves when the names in a directory are on disk. */
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
  syncDirectory: async path => {
    const directory = await open(path)
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  },
}
