/** An archive that was made in a directory, commands of frequency on it, and DuckDB beside them. */
import { readdir, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { archiveLocation } from '../src/config/archive-location.ts'
import { openDirectoryStore } from '../src/store/directory.ts'
import { HOUR_MS } from '../src/table/table-keys.ts'
import { ensureServers, SERVER_PACKAGES, serverPath } from '../test/services/install.ts'
import { BUILT_PROGRAM, Program, type ProgramOptions, ROOT } from '../test/services/program.ts'
import { makeArchive } from './made-archive.ts'
import { PeakMemory } from './peak-memory.ts'
import { progress } from './progress.ts'
import type { Site } from './site.ts'
import type { Line } from './table.ts'

export const EVENTS = 6_000_000
export const BATCH_EVENTS = 1_000
export const HOURS = 24
const USERS = 200_000
const START_MS = Date.UTC(2026, 10, 24)
const COMMAND_MS_MAX = 600_000
const AFTER_HOUR_MS = 20 * 60 * 1000
const THREADS = 2
const RAW_COLUMNS = `{event: 'VARCHAR', user_id: 'VARCHAR', messageId: 'VARCHAR', receivedAt: 'TIMESTAMPTZ', context: 'JSON', properties: 'JSON'}`

/** The figures of one command, a number for each round. */
export interface Timed {
  readonly name: string
  readonly ms: number[]
  readonly peakMib: number[]
}

export class LakeSite {
  readonly events: number
  readonly #site: Site
  readonly #path: string
  readonly archive: string
  /** Below it are the objects. */
  readonly objects: string

  private constructor(site: Site, path: string, events: number, prefix: string) {
    this.#site = site
    this.#path = path
    this.archive = join(path, 'archive')
    this.events = events
    this.objects = join(this.archive, prefix)
  }

  static async make(
    site: Site,
    events = site.options.archiveEvents ?? EVENTS,
    hours = HOURS,
  ): Promise<LakeSite> {
    await ensureServers(SERVER_PACKAGES.filter(({ name }) => name === 'faketime'))
    const { path } = site.fresh('lake')
    const archive = join(path, 'archive')
    const { prefix } = archiveLocation(archive, path)
    const store = await openDirectoryStore({ path: archive })
    const made = { events, batchEvents: BATCH_EVENTS, hours, users: USERS, startMs: START_MS }
    await makeArchive(store, prefix, made)
    progress(`  made an archive of ${events} events`)
    await store.close()
    return new LakeSite(site, path, events, prefix)
  }

  get #dataDir(): string {
    return join(this.#path, 'data')
  }

  get objectCount(): number {
    return Math.ceil(this.events / BATCH_EVENTS)
  }

  get objectGlob(): string {
    return join(this.objects, 'dt=*/hour=*/*.ndjson.gz')
  }

  get tableGlob(): string {
    return join(this.objects, 'table/data/**/*.parquet')
  }

  /** A table function of DuckDB. */
  get source(): string {
    return `read_json('${this.objectGlob}', format = 'newline_delimited', columns = ${RAW_COLUMNS}, hive_partitioning = true, hive_types_autocast = false)`
  }

  /** The same for the files of the table. */
  get table(): string {
    return `read_parquet('${this.tableGlob}', hive_partitioning = false)`
  }

  file(name: string): string {
    return join(this.#path, name)
  }

  /** Runs a command, or another program below the root of the project, to its end. @returns its standard output */
  async timed({ ms, peakMib }: Timed, args: readonly string[], script = BUILT_PROGRAM): Promise<string> {
    const { stdout, ...figures } = await this.#run(args, { script: resolve(ROOT, script) })
    ms.push(figures.ms)
    peakMib.push(figures.peakMib)
    return stdout
  }

  async #run(
    args: readonly string[],
    { script = BUILT_PROGRAM, ...options }: Pick<ProgramOptions, 'under'> & { readonly script?: string } = {},
  ) {
    const { name, path: cwd } = this.#site.fresh('command')
    const startedAt = performance.now()
    const program = new Program(script, {
      ...{ name, cwd, args, workspace: this.#site.workspace, ...options },
      env: { ...process.env, TZ: 'UTC', ARCHIVE_URL: this.archive, DATA_DIR: this.#dataDir },
    })
    const memory = new PeakMemory(program.pid)
    const { code } = await program.endsWithin(COMMAND_MS_MAX)
    const ms = Math.round(performance.now() - startedAt)
    const peakMib = memory.stop()
    if (code !== 0) throw new Error(`${name}, ${args[0]}, failed: ${program.output}`)
    return { ms, peakMib, stdout: program.stdout }
  }

  /** Compacts the first hours, as a machine would at the end of the last of these. */
  async compact(hours: number): Promise<void> {
    const now = new Date(START_MS + hours * HOUR_MS + AFTER_HOUR_MS)
      .toISOString()
      .slice(0, 19)
      .replace('T', ' ')
    await this.#run(['compact', '--no-progress'], { under: [serverPath('faketime'), now] })
  }

  async removeTable(): Promise<void> {
    for (const name of ['table', '_frequency/table'])
      await rm(join(this.objects, name), { recursive: true, force: true })
  }

  /** Bytes of all files below the archive with this ending. */
  async bytesOf(ending: string): Promise<number> {
    const names = await readdir(this.objects, { recursive: true })
    const paths = names.filter(name => name.endsWith(ending)).map(name => join(this.objects, name))
    const sizes = await Promise.all(paths.map(async path => (await stat(path)).size))
    return sizes.reduce((sum, size) => sum + size, 0)
  }

  /** Removes what queries have kept of objects. */
  async removeCache(): Promise<void> {
    await rm(join(this.#dataDir, 'query-cache'), { recursive: true, force: true })
  }

  /** Runs SQL in DuckDB. @returns milliseconds, without the start of DuckDB */
  async inDuckdb(sql: string): Promise<number> {
    return (await this.#inDuckdb(sql)).ms
  }

  /** @returns the answer of DuckDB, as JSON has it */
  async rowsOf(sql: string): Promise<unknown[][]> {
    return (await this.#inDuckdb(sql)).rows
  }

  async #inDuckdb(sql: string): Promise<{ readonly ms: number; readonly rows: unknown[][] }> {
    const instance = await DuckDBInstance.create(':memory:', {
      threads: String(THREADS),
      temp_directory: this.file('spill'),
    })
    const connection = await instance.connect()
    const startedAt = performance.now()
    const reader = await connection.runAndReadAll(sql)
    const ms = Math.round(performance.now() - startedAt)
    const rows = reader.getRowsJson()
    connection.closeSync()
    instance.closeSync()
    return { ms, rows }
  }

  async close(): Promise<void> {
    await this.#site.discard(this.#path)
  }
}

export function timing(name: string): Timed {
  return { name, ms: [], peakMib: [] }
}

/** @param events shown as a rate; undefined: the time is shown */
export function lineOf({ name, ms, peakMib }: Timed, events?: number): Line {
  return {
    name,
    ...(events === undefined ? { ms } : { eventsPerSecond: ms.map(each => (1_000 * events) / each) }),
    ...(peakMib.length > 0 && { memory: { peakMib: Math.max(...peakMib), anonMib: 0 } }),
    flaws: [],
  }
}
