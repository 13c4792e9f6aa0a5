/**
 * A disk that can be filled: a tmpfs. Mounting one needs Linux and root.
 *
 * It is unmounted on close(), and also where this process is killed: a shell waits for that.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { hasExited } from '../services/wait.ts'

const BYTES = 1024 * 1024 * 1024
/** What is left for the ballast; a process may take some of it before that. */
const MARGIN_BYTES = 4 * 1024 * 1024
/** The last of these fill what the ones before left over. */
const BALLAST_BLOCKS = [64 * 1024, 4096, 1]
const CLOSE_MS_MAX = 10_000
const GUARD = 'cat >/dev/null; umount -l "$0"'

export class Disk {
  /** Where it is mounted. */
  readonly dir: string
  readonly #guard: ChildProcess

  /** Root in a container may not be allowed to mount. */
  static get isPossible(): boolean {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
    return spawnSync('unshare', ['--mount', 'true']).status === 0
  }

  /** @param dir is made where it is not there */
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

  /** Makes it as small as what is on it, and leaves not a byte. @returns whether that is so */
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

  /** Unmounts it; what is on it is gone. */
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
