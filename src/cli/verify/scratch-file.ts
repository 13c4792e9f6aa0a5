import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Bytes that need not stay in memory, in one file in the directory for temporary files (TMPDIR). It is
 * made with the first of them, and removed at once where the system lets an open file be removed: so
 * none is left behind, however the process ends.
 */
export class ScratchFile {
  #descriptor: number | undefined
  #directory: string | undefined
  #length = 0

  /** Where the bytes are to be found again. */
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
      if (count === 0) throw new Error('the temporary file has become shorter')
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
