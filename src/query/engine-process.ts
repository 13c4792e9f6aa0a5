/** The engine of queries: DuckDB, in a process of its own, which may be killed at any time. */

import { once } from 'node:events'
import { createWriteStream, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { keepByteOrderMarks } from './byte-order-marks.ts'
import { useEngineAddon } from './engine-addon.ts'
import {
  type Done,
  type EngineAnswer,
  type EngineOptions,
  type EngineRequest,
  NOBODY,
  type Work,
  type WriteRequest,
} from './engine-messages.ts'
import { eraseInFile, findInFiles, writeIds } from './erase-sql.ts'
import { makeHourFiles } from './hour-files.ts'
import { jsonOf } from './result-json.ts'
import { assertSelect } from './select-only.ts'
import { eventsView, parquetOfRows, quoted } from './table-sql.ts'

/** Formats that DuckDB writes itself. Without a quote, CSV is its texts: the delimiter is not in JSON. */
const COPY_OPTIONS = {
  csv: 'format csv, header true',
  parquet: 'format parquet, compression zstd',
  lines: "format csv, header false, delimiter '\x1f', quote '', escape ''",
} as const
const OUT_BYTES = 256 * 1024
const NUMBERS = /^(?:U?(?:TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL)/

/** Serves the process that has forked this one, until it disconnects. */
export function serveEngine(): void {
  let engine: Engine | undefined
  // Not exit(): that waits for the threads of a running query.
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
  // Ctrl-C goes to all processes of a terminal. The parent decides what it means.
  process.on('SIGINT', () => {})
  process.on('message', (request: EngineRequest) => {
    if (request.kind === 'interrupt') engine?.interrupt()
    else if (request.kind === 'open') {
      void openEngine(request.options).then(
        opened => {
          engine = opened
          answer({ kind: 'ready' })
        },
        (error: Error) => answer({ kind: 'unavailable', message: error.message }),
      )
    } else if (engine !== undefined) {
      const { id } = request
      engine.run(request).then(
        done => answer({ kind: 'done', id, ...done }),
        (error: Error) => answer({ kind: 'failed', id, message: error.message }),
      )
    }
  })
}

function answer(message: EngineAnswer): void {
  process.send?.(message, () => {})
}

async function openEngine({
  directory,
  memoryBytesMax,
  spillBytesMax,
  threads,
  isForUser,
  keepsOrder = isForUser,
  addonPath,
}: EngineOptions): Promise<Engine> {
  if (addonPath !== undefined) useEngineAddon(addonPath)
  // In the bundle the bindings, which are CommonJS, load their native part by this (esbuild's `__require`).
  Object.assign(globalThis, { require: createRequire(import.meta.url) })
  keepByteOrderMarks()
  const loaded = await import('@duckdb/node-api')
  const { DuckDBInstance } = 'default' in loaded ? (loaded.default as typeof loaded) : loaded
  const instance = await DuckDBInstance.create(':memory:', {
    threads: String(threads),
    memory_limit: `${Math.floor(memoryBytesMax / 1024)}KiB`,
    temp_directory: join(directory, 'spill'),
    max_temp_directory_size: `${Math.floor(spillBytesMax / 1024)}KiB`,
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    // The order of an answer counts, and that of converted events does not.
    preserve_insertion_order: String(keepsOrder),
  })
  const connection = await instance.connect()
  const finder = await instance.connect()
  for (const each of [connection, finder]) await each.run("set timezone = 'UTC'")
  await connection.run(`set allowed_directories = [${quoted(`${directory}/`)}]`)
  await connection.run('set enable_external_access = false')
  if (isForUser) becomeNobody(directory)
  await connection.run('set lock_configuration = true')
  return new Engine(connection, finder, isForUser)
}

/**
 * So that this process could not write the archive if it tried. Only root can do so, and `directory` must be below
 * directories that others may pass through.
 */
function becomeNobody(directory: string): void {
  if (process.getuid?.() !== 0 || !isPassable(dirname(directory))) return
  process.setgroups?.([])
  process.setgid?.(NOBODY)
  process.setuid?.(NOBODY)
}

function isPassable(directory: string): boolean {
  const isOpen = (statSync(directory).mode & 0o001) !== 0
  return isOpen && (dirname(directory) === directory || isPassable(dirname(directory)))
}

class Engine {
  readonly #connection: DuckDBConnection
  /** For what is looked up while the other one is at work. */
  readonly #finder: DuckDBConnection
  readonly #isForUser: boolean
  #interrupts = 0

  constructor(connection: DuckDBConnection, finder: DuckDBConnection, isForUser: boolean) {
    this.#connection = connection
    this.#finder = finder
    this.#isForUser = isForUser
  }

  interrupt(): void {
    this.#interrupts++
    this.#connection.interrupt()
    this.#finder.interrupt()
  }

  async run(work: Work): Promise<Done> {
    const interrupts = this.#interrupts
    const done = await this.#run(work)
    // A stream that was interrupted ends like one that is complete.
    if (this.#interrupts !== interrupts) throw new Error('INTERRUPT Error: Interrupted!')
    return done
  }

  async #run(work: Work): Promise<Done> {
    if (work.kind === 'convert') return this.#change(parquetOfRows(work.rows, work.parquet))
    if (work.kind === 'view') return this.#change(eventsView(work.sources, work))
    if (work.kind === 'compact') return { rows: 0, files: await makeHourFiles(this.#connection, work) }
    if (work.kind === 'ids') return { rows: await writeIds(this.#connection, work) }
    if (work.kind === 'find') return { rows: 0, counts: await findInFiles(this.#finder, work) }
    if (work.kind === 'erase') return { rows: 0, files: [await eraseInFile(this.#connection, work)] }
    if (this.#isForUser) await assertSelect(this.#connection, work.sql)
    if (work.kind === 'check') {
      await this.#connection.prepare(work.sql)
      return { rows: 0 }
    }
    return work.kind === 'query'
      ? this.#query(work.sql, work.rowsMax)
      : this.#write(work.sql, work.format, work.path)
  }

  async #change(sql: string): Promise<Done> {
    const reader = await this.#connection.runAndReadAll(sql)
    return { rows: Number(reader.getRows()[0]?.[0] ?? 0) }
  }

  /** The statement as DuckDB writes it, without a semicolon and comments at its end; as COPY takes it. */
  async #normalized(sql: string): Promise<string> {
    const serialized = 'select json_deserialize_sql(json_serialize_sql($1::varchar))'
    const reader = await this.#connection.runAndReadAll(serialized, [sql])
    const select = String(reader.getRows()[0]?.[0]).replace(/;\s*$/, '')
    return /^(?:describe|summarize|show)\b/i.test(select) ? `from (${select})` : select
  }

  async #query(sql: string, rowsMax: number): Promise<Done> {
    const reader = await this.#connection.streamAndReadUntil(sql, rowsMax + 1)
    const columns = reader.columnNames().map((name, index) => {
      const type = reader.columnType(index).toString()
      return { name, type, isNumber: NUMBERS.test(type) }
    })
    const rows = reader
      .getRows()
      .slice(0, rowsMax)
      .map(row => row.map(value => (value === null ? null : String(value))))
    const hasMore = reader.currentRowCount > rowsMax || !reader.done
    return { rows: rows.length, answer: { columns, rows, hasMore } }
  }

  async #write(sql: string, format: WriteRequest['format'], path: string): Promise<Done> {
    if (format === 'csv' || format === 'parquet' || format === 'lines')
      return this.#change(
        `copy (${await this.#normalized(sql)}\n) to ${quoted(path)} (${COPY_OPTIONS[format]})`,
      )
    const out = createWriteStream(path)
    const result = await this.#connection.stream(sql)
    const types = result.columnNames().map((_, index) => result.columnType(index))
    const names = result.deduplicatedColumnNames().map(name => JSON.stringify(name))
    let rows = 0
    let text = format === 'json' ? '[' : ''
    for await (const chunk of result.yieldRows()) {
      for (const row of chunk) {
        const members = row.map((value, index) => `${names[index]}:${jsonOf(value, types[index])}`)
        if (format === 'json') text += rows === 0 ? '\n' : ',\n'
        text += `{${members.join(',')}}`
        if (format === 'ndjson') text += '\n'
        rows++
        if (text.length < OUT_BYTES) continue
        if (!out.write(text)) await once(out, 'drain')
        text = ''
      }
    }
    out.end(format === 'json' ? `${text}\n]\n` : text)
    await once(out, 'close')
    return { rows }
  }
}
