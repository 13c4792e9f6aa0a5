/** Directories that stay after a power cut. */
import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'

/** So many are remembered; an archive has 24 new ones a day. */
const REMEMBERED_MAX = 1_000

/**
 * Makes directories, and fsyncs those that hold their entries. Each entry is fsynced once in a process, also
 * where it was there already: another process may have made it, and not have fsynced it yet.
 */
export class DurableDirectories {
  readonly #root: string
  readonly #made = new Map<string, Promise<void>>()

  /** @param root above it only those that are made here are fsynced, for others may not be readable */
  constructor(root: string) {
    this.#root = root
  }

  /** Resolves when the directory is there, and its entry and those on the way to it are durable. */
  make(path: string): Promise<void> {
    const known = this.#made.get(path)
    if (known !== undefined) return known
    if (this.#made.size >= REMEMBERED_MAX) this.forget()
    const made = this.#make(path)
    this.#made.set(path, made)
    made.catch(() => this.#made.delete(path))
    return made
  }

  /** To be called where a directory turns out to be gone. */
  forget(): void {
    this.#made.clear()
  }

  async #make(path: string): Promise<void> {
    const first = (await mkdir(path, { recursive: true })) ?? this.#root
    const top = first.length < this.#root.length ? first : this.#root
    const entries: Promise<void>[] = []
    const above: string[] = []
    for (let at = path; ; at = dirname(at)) {
      // What is known has the entries above it durable too, or soon.
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
      // Above the root a directory may be entered and not be read. Who made the root there has answered for it.
      if (path !== this.#root || (code !== 'EACCES' && code !== 'EPERM')) throw error
    }
  }
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
