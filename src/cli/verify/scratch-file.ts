import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * A temporary file (in TMPDIR) for bytes that need not stay in memory. It is created by the first `append`. Except on
 * Windows its directory entry is removed at once, so that no file is left however the process ends.
 */
export class ScratchFile {
  #descriptor: number | undefined
  #directory: string | undefined
  #length = 0

  /** Returns the position of the bytes, for `read`. @throws Error of the disk */
  append(bytes: Buffer): number {
    this.#descriptor ??= this.#open()
    const position = this.#length
    let written = 0
    while (written < bytes.length) {
      written += writeSync(this.#descriptor, bytes, written, bytes.length - written, position + written)
    }
    this.#length += bytes.length
    return position
  }

  read(position: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    let done = 0
    while (done < length) {
      const count = readSync(this.#descriptor as number, bytes, done, length - done, position + done)
      if (count === 0) throw new Error('the temporary file is shorter than before')
      done += count
    }
    return bytes
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
    this.#remove()
  }

  #open(): number {
    this.#directory = mkdtempSync(join(tmpdir(), 'frequency-'))
    const descriptor = openSync(join(this.#directory, 'scratch'), 'wx+', 0o600)
    if (process.platform !== 'win32') this.#remove()
    return descriptor
  }

  #remove(): void {
    if (this.#directory !== undefined) rmSync(this.#directory, { recursive: true, force: true })
    this.#directory = undefined
  }
}
