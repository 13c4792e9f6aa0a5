import { statfs } from 'node:fs/promises'

const REFRESH_MS = 500
/** Free space that a queue leaves to everything else on the disk. */
const RESERVE_BYTES_MAX = 512 * 1024 * 1024
const RESERVE_SHARE = 0.05

/** The free space on the disk of a directory. It is read at most twice a second, and `bytes` never waits for it. */
export class DiskRoom {
  readonly #path: string
  #bytes = 0
  #readAt = Number.NEGATIVE_INFINITY
  #isReading = false

  constructor(path: string) {
    this.#path = path
  }

  /** Free bytes without the reserve, which is 512 MiB, or 5 % of a disk below 10 GiB. May be up to 0.5 s old. */
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
      // If the free space cannot be read, the disk counts as full: a write would fail too.
      this.#bytes = 0
    } finally {
      this.#readAt = performance.now()
      this.#isReading = false
    }
  }
}
