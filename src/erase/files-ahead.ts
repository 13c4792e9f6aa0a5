import type { AffectedFile, ErasedFile } from './rewrite-files.ts'

/** Bound on the bytes of files that are made ahead. The last may exceed it. */
const BYTES_AHEAD = 256 * 1024 * 1024

/** One is fetched, or removed, while the engine has another. */
const MAKES_AT_ONCE = 2

/**
 * Makes new files of the table before they are wanted, in their order: the engine works while objects are rewritten.
 * A new file is on local disk, and has no effect before it is staged.
 *
 * It may be used if the table still names the same path when it is wanted: the bytes below a path do not change while
 * the table names it. Else it is made again.
 */
export class FilesAhead {
  readonly #make: (file: AffectedFile) => Promise<ErasedFile>
  readonly #left: AffectedFile[]
  /** By path: files that are made, or being made. */
  readonly #made = new Map<string, Promise<ErasedFile>>()
  #bytes = 0
  #making = 0

  /** @param make called for two files at once, and for each that is wanted unexpectedly */
  constructor(files: readonly AffectedFile[], make: (file: AffectedFile) => Promise<ErasedFile>) {
    this.#left = [...files]
    this.#make = make
    this.#advance()
  }

  /** @throws what `make` throws */
  async take(wanted: AffectedFile): Promise<ErasedFile> {
    const { path, bytes } = wanted.file
    const made = this.#made.get(path)
    if (made === undefined) {
      const place = this.#left.findIndex(({ file }) => file.path === path)
      if (place !== -1) this.#left.splice(place, 1)
      return this.#make(wanted)
    }
    try {
      return { ...(await made), ...wanted }
    } catch {
      return await this.#make(wanted)
    } finally {
      this.#made.delete(path)
      this.#bytes -= bytes
      this.#advance()
    }
  }

  /** No further file is begun. */
  stop(): void {
    this.#left.length = 0
  }

  #advance(): void {
    while (this.#making < MAKES_AT_ONCE && this.#bytes < BYTES_AHEAD) {
      const next = this.#left.shift()
      if (next === undefined) return
      this.#making++
      this.#bytes += next.file.bytes
      const made = this.#make(next)
      this.#made.set(next.file.path, made)
      made.then(
        () => {
          this.#making--
          this.#advance()
        },
        () => {
          this.#making--
          this.stop()
        },
      )
    }
  }
}
