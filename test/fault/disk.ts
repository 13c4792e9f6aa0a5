/**
 * A disk that can be filled: a tmpfs, which needs Linux and root.
 *
 * It is unmounted on close(). A shell waits for the end of this process, and unmounts it also after a SIGKILL.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { hasExited } from '../services/wait.ts'

const BYTES = 1024 * 1024 * 1024
/** Space for the ballast. A process may use some of it first. */
const MARGIN_BYTES = 4 * 1024 * 1024
/** Block sizes of the ballast. Smaller blocks fill the space that larger ones leave. */
const BALLAST_BLOCKS = [64 * 1024, 4096, 1]
const CLOSE_MS_MAX = 10_000
const GUARD = 'cat >/dev/null; umount -l "$0"'

export class Disk {
  /** The mount point. */
  readonly dir: string
  readonly #guard: ChildProcess

  /** Root in a container may not be allowed to mount. */
  static get isPossible(): boolean {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
    return spawnSync('unshare', ['--mount', 'true']).status === 0
  }

  /** @param dir the mount point; made if it is missing */
  constructor(dir: string) {
    this.dir = dir
    mkdirSync(dir, { recursive: true })
    this.#mount(`size=${BYTES}`, '-t', 'tmpfs')
    this.#guard = spawn('sh', ['-c', GUARD, dir], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
    this.#guard.unref()
    const pipe = this.#guard.stdin as Socket
    pipe.unref()
    pipe.on('error', () => {})
  }

  /** Shrinks the disk to its content, and fills the rest. @returns whether no byte is free */
  fill(): boolean {
    const { blocks, bfree, bsize } = statfsSync(this.dir)
    this.#mount(`remount,size=${(blocks - bfree) * bsize + MARGIN_BYTES}`)
    const file = openSync(this.#ballast, 'w')
    try {
      for (const bytes of BALLAST_BLOCKS) writeUntilFull(file, Buffer.alloc(bytes))
    } finally {
      closeSync(file)
    }
    return statfsSync(this.dir).bavail === 0
  }

  free(): void {
    rmSync(this.#ballast, { force: true })
    this.#mount(`remount,size=${BYTES}`)
  }

  /** Unmounts the disk. Its content is lost. */
  async close(): Promise<void> {
    this.#guard.stdin?.end()
    await hasExited(this.#guard, CLOSE_MS_MAX)
  }

  #mount(options: string, ...args: string[]): void {
    execFileSync('mount', [...args, '-o', options, 'frequency-fault', this.dir])
  }

  get #ballast(): string {
    return join(this.dir, 'ballast')
  }
}

function writeUntilFull(file: number, block: Buffer): void {
  try {
    while (writeSync(file, block) === block.length);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
}
