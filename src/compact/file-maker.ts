/** Makes files of the table, in an engine of its own. */

import { GIB, MIB } from '../config/setting-types.ts'
import { QueryFailed } from '../errors.ts'
import { Engine } from '../query/engine.ts'
import type { MadeFile, RowsOfSpan } from '../query/engine-messages.ts'
import type { QueryCache } from '../query/query-cache.ts'
import type { TableColumn } from '../table/table-entry.ts'

/** Of the process that makes the files. With this one the command stays below 1 GiB. */
const ENGINE_BYTES_MAX = 768 * MIB
/** With a longer row DuckDB needs several times its length, and may take more; so it may if the first try has failed. */
const LONG_ROW_BYTES = 8 * MIB
const LARGE_ENGINE_BYTES_MAX = 2 * GIB

export interface FileMakerParts {
  /** Files are made in the directory of its run. */
  readonly cache: Pick<QueryCache, 'runDirectory' | 'temporaryPath'>
  readonly spillBytesMax: number
  readonly threads: number
  /** When aborted, the file that is being made is given up. */
  readonly stopping: AbortSignal
}

export class FileMaker {
  readonly #parts: FileMakerParts
  #engine: Engine | undefined
  #engineBytesMax = 0
  #canStart = true

  constructor(parts: FileMakerParts) {
    this.#parts = parts
  }

  /** Not if DuckDB is missing: then no file can be made. */
  get canStart(): boolean {
    return this.#canStart
  }

  /**
   * Makes the files of one hour. To be called again when it has ended.
   *
   * @param hour hours since 1970
   * @throws QueryFailed
   */
  async make(
    hour: number,
    sources: readonly RowsOfSpan[],
    columns: readonly TableColumn[],
  ): Promise<readonly MadeFile[]> {
    const makeWith = async (residentBytesMax: number): Promise<readonly MadeFile[]> => {
      const path = this.#parts.cache.temporaryPath('table')
      const engine = await this.#engineWith(residentBytesMax)
      const { files } = await engine.run({ kind: 'compact', sources, hour, columns, path })
      return files ?? []
    }
    const longest = Math.max(...sources.map(({ rows }) => rows.longest))
    if (longest > LONG_ROW_BYTES) return makeWith(LARGE_ENGINE_BYTES_MAX)
    return makeWith(ENGINE_BYTES_MAX).catch(error => {
      const mayFit = error instanceof QueryFailed && this.#canStart && !this.#parts.stopping.aborted
      if (!mayFit) throw error
      return makeWith(LARGE_ENGINE_BYTES_MAX)
    })
  }

  async close(): Promise<void> {
    await this.#engine?.close()
  }

  /** The engine, with at least this much memory. */
  async #engineWith(residentBytesMax: number): Promise<Engine> {
    const { cache, spillBytesMax, threads, stopping } = this.#parts
    const isUsable = this.#engine?.hasEnded === false && residentBytesMax <= this.#engineBytesMax
    if (this.#engine !== undefined && isUsable) return this.#engine
    await this.#engine?.close()
    this.#engineBytesMax = residentBytesMax
    const engine = await Engine.start({
      directory: cache.runDirectory,
      residentBytesMax,
      spillBytesMax,
      threads,
      isForUser: false,
    }).catch(error => {
      this.#canStart = false
      throw error
    })
    stopping.addEventListener('abort', () => engine.interrupt())
    this.#engine = engine
    return engine
  }
}
