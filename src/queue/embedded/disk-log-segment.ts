import { closeSync, openSync, readSync, read as readWithCallback } from 'node:fs'
import { rename, unlink } from 'node:fs/promises'
import { promisify } from 'node:util'
import { HEADER_BYTES, type Seal, type SegmentName } from './disk-log-format.ts'

const readOnce = promisify(readWithCallback)

/** A stretch of a file in which no record is. */
export interface Gap {
  readonly from: number
  readonly to: number
}

/** A file of a log on disk (disk-log.ts). */
export class LogSegment {
  readonly path: string
  readonly firstKey: number
  readonly seal: Seal
  lastKey = 0
  /** What can be read ends here. In a file of this life all of it is synced. */
  end = HEADER_BYTES
  /** All before this offset is known to be synced. 0 while nothing is. */
  synced = 0
  /** Of all records in it. */
  events = 0
  /** On disk. */
  bytes = 0
  /** Where to read on, by where records are missing. */
  readonly gaps = new Map<number, number>()
  /** It is kept when all that can be read of it is dropped. */
  isDamaged = false
  /** What is appended goes to it. */
  isWritten = false
  /** Its file is kept open. */
  isRead = false
  /** It is in the log no more. */
  isDeleted = false
  #fd: number | undefined
  #users = 0
  #isClosing = false

  constructor(path: string, { firstKey, seal }: SegmentName) {
    this.path = path
    this.firstKey = firstKey
    this.seal = seal
  }

  /** Makes the file, for writing. @throws what the system says */
  create(): void {
    this.#fd = openSync(this.path, 'wx+')
    this.isWritten = true
  }

  /** Calls with the open file, which stays open until that is done. @throws what the system says */
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

  /** Reads so many bytes, or up to where the file ends. @throws what the system says */
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

  /** The same, at once, into a buffer that is there. */
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

  /** At once, or when nobody uses it. */
  close(): void {
    this.#isClosing = this.#users > 0
    if (this.#isClosing || this.#fd === undefined) return
    closeSync(this.#fd)
    this.#fd = undefined
  }

  /** What is left of a damaged file is kept under another name. */
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
