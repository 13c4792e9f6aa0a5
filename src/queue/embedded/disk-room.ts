import { statfs } from 'node:fs/promises'

const REFRESH_MS = 500
/** What a queue leaves of a disk to everything else on it. */
const RESERVE_BYTES_MAX = 512 * 1024 * 1024
const RESERVE_SHARE = 0.05

/** The room on the disk that a directory is on. It is asked for at most twice a second, and never waited for. */
export class DiskRoom {
  readonly #path: string
  #bytes = 0
  #readAt = Number.NEGATIVE_INFINITY
  #isReading = false

  constructor(path: string) {
    this.#path = path
  }

  /** Free bytes above the reserve: 512 MiB, or a twentieth of a smaller disk. */
  get bytes(): number {
    if (performance.now() - this.#readAt > REFRESH_MS && !this.#isReading) void this.refresh()
    return this.#bytes
  }

  async refresh(): Promise<void> {
    this.#isReading = true
    try {
      const { bsize, bavail, blocks } = await statfs(this.#path)
      this.#bytes = bavail * bsize - Math.min(RESERVE_BYTES_MAX, blocks * bsize * RESERVE_SHARE)
    } catch {
      // A disk that cannot even be asked has no room; the write that follows would say the same.
      this.#bytes = 0
    } finally {
      this.#readAt = performance.now()
      this.#isReading = false
    }
  }
}
