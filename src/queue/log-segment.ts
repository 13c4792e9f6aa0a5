import { rmSync } from 'node:fs'
import type { RootDatabase } from 'lmdb'
import { assertDescriptorsLeft, openLmdb } from '../lmdb-file.ts'

/** What a segment maps before it grows: address space, which takes no memory by itself. */
const MAP_BYTES = 64 * 1024 * 1024

/** A file of a log on disk (disk-log.ts). */
export class LogSegment {
  readonly firstKey: number
  readonly path: string
  /** Resolves when the directory's entry for it is on disk. */
  named: Promise<void> = Promise.resolve()
  /** On disk; an estimate while it is written. */
  bytes: number
  /** Appends that are not on disk yet. */
  pending = 0
  /** Set while its file is being closed. */
  closing: Promise<void> | undefined
  #env: RootDatabase<Buffer, number> | undefined

  constructor(path: string, firstKey: number, bytes: number) {
    this.path = path
    this.firstKey = firstKey
    this.bytes = bytes
  }

  get isOpen(): boolean {
    return this.#env !== undefined
  }

  /** The open file. */
  get env(): RootDatabase<Buffer, number> {
    return this.open()
  }

  /** Creates the file if need be. @throws what LMDB says where it cannot */
  open(): RootDatabase<Buffer, number> {
    if (this.#env !== undefined) return this.#env
    assertDescriptorsLeft()
    this.#env = openLmdb({ path: this.path, encoding: 'binary', mapSize: MAP_BYTES })
    return this.#env
  }

  close(): Promise<void> {
    const env = this.#env
    if (env === undefined) return this.closing ?? Promise.resolve()
    this.#env = undefined
    this.closing = env.close().finally(() => {
      this.closing = undefined
    })
    return this.closing
  }

  async delete(): Promise<void> {
    await this.close()
    rmSync(this.path, { force: true })
    rmSync(`${this.path}-lock`, { force: true })
  }
}
