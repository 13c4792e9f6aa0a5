import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncDirectory } from '../process/sync-directory.ts'

/** Limit of remembered directories. An archive gets 24 new ones a day. */
const REMEMBERED_MAX = 1_000

/**
 * Makes directories that survive a power cut: it fsyncs the parent of each new entry. It does so once per process
 * and directory, also for existing directories: another process may have made one, and not have fsynced it yet.
 */
export class DurableDirectories {
  readonly #root: string
  readonly #made = new Map<string, Promise<void>>()

  /** @param root existing directories above it are not fsynced: they may not be readable */
  constructor(root: string) {
    this.#root = root
  }

  /** Resolves when the directory exists, and its entry and those of its parents are durable. */
  make(path: string): Promise<void> {
    const known = this.#made.get(path)
    if (known !== undefined) return known
    if (this.#made.size >= REMEMBERED_MAX) this.forget()
    const made = this.#make(path)
    this.#made.set(path, made)
    made.catch(() => this.#made.delete(path))
    return made
  }

  /** To be called if a directory that was made here does not exist any more. */
  forget(): void {
    this.#made.clear()
  }

  async #make(path: string): Promise<void> {
    const first = (await mkdir(path, { recursive: true })) ?? this.#root
    const top = first.length < this.#root.length ? first : this.#root
    const entries: Promise<void>[] = []
    const above: string[] = []
    for (let at = path; ; at = dirname(at)) {
      // The entries above a known directory are durable, or are being fsynced.
      const known = at === path ? undefined : this.#made.get(at)
      entries.push(known ?? this.#syncEntry(at))
      if (known !== undefined || at === top || at === dirname(at)) break
      above.push(dirname(at))
    }
    await Promise.all(entries)
    for (const at of above) if (!this.#made.has(at)) this.#made.set(at, Promise.resolve())
  }

  async #syncEntry(path: string): Promise<void> {
    try {
      await syncDirectory(dirname(path))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // The parent of the root may not be readable. Then the creator of the root is responsible for its entry.
      if (path !== this.#root || (code !== 'EACCES' && code !== 'EPERM')) throw error
    }
  }
}
