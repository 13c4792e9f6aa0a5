import { closeSync, openSync, readSync, read as readWithCallback } from 'node:fs'
import { rename, unlink } from 'node:fs/promises'
import { promisify } from 'node:util'
import { HEADER_BYTES, type Seal, type SegmentName } from './disk-log-format.ts'

const readOnce = promisify(readWithCallback)

/** A range of a file without a valid record. */
export interface Gap {
  readonly from: number
  readonly to: number
}

/** One file of a log on disk (disk-log.ts). */
export class LogSegment {
  readonly path: string
  readonly firstKey: number
  readonly seal: Seal
  lastKey = 0
  /** End of the last readable record. If this process made the file, all bytes before it are synced. */
  end = HEADER_BYTES
  /** All bytes before this offset are known to be synced. 0: none. */
  synced = 0
  /** Events in all records. */
  events = 0
  /** Size on disk. */
  bytes = 0
  /** End of each gap, by its start. */
  readonly gaps = new Map<number, number>()
  /** The file is kept, under another name, after all its readable records are dropped. */
  isDamaged = false
  /** Appends go to this segment. */
  isWritten = false
  /** The reader is in this segment, so its file stays open. */
  isRead = false
  /** The segment is not in the log any more. */
  isDeleted = false
  #fd: number | undefined
  #users = 0
  #isClosing = false

  constructor(path: string, { firstKey, seal }: SegmentName) {
    this.path = path
    this.firstKey = firstKey
    this.seal = seal
  }

  /** Makes the file, for writing. @throws the system's error */
  create(): void {
    this.#fd = openSync(this.path, 'wx+')
    this.isWritten = true
  }

  /** Calls `work` with the open file. The file stays open until `work` has settled. @throws the system's error */
  async use<T>(work: (fd: number) => Promise<T>): Promise<T> {
    const fd = this.#open()
    this.#users++
    try {
      return await work(fd)
    } finally {
      this.#users--
      if (this.#isClosing) this.close()
    }
  }

  /** Reads `bytes` bytes, or fewer if the file ends before. @throws the system's error */
  async read(offset: number, bytes: number): Promise<Buffer> {
    const block = Buffer.allocUnsafeSlow(bytes)
    return this.use(async fd => {
      let read = 0
      while (read < bytes) {
        const { bytesRead } = await readOnce(fd, block, read, bytes - read, offset + read)
        if (bytesRead === 0) break
        read += bytesRead
      }
      return block.subarray(0, read)
    })
  }

  /** Reads like `read`, synchronously, into `block`. */
  readSync(offset: number, bytes: number, block: Buffer = Buffer.allocUnsafeSlow(bytes)): Buffer {
    const fd = this.#open()
    let read = 0
    while (read < bytes) {
      const bytesRead = readSync(fd, block, read, bytes - read, offset + read)
      if (bytesRead === 0) break
      read += bytesRead
    }
    return block.subarray(0, read)
  }

  /** Closes the file now, or when the last `use` of it has settled. */
  close(): void {
    this.#isClosing = this.#users > 0
    if (this.#isClosing || this.#fd === undefined) return
    closeSync(this.#fd)
    this.#fd = undefined
  }

  /** Deletes the file; if it is damaged, renames it to `<file>.damaged` instead. */
  async delete(): Promise<void> {
    this.close()
    if (this.isDamaged) await rename(this.path, `${this.path}.damaged`)
    else await unlink(this.path)
  }

  #open(): number {
    this.#isClosing = false
    this.#fd ??= openSync(this.path, 'r')
    return this.#fd
  }
}
