import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { archiveLocation } from '../../src/config/archive-location.ts'
import { openDirectoryStore } from '../../src/store/directory.ts'
import { BUILT_PROGRAM, Program } from '../../test/services/program.ts'
import { makeArchive } from '../made-archive.ts'
import { PeakMemory } from '../peak-memory.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import type { Line, RowResult } from '../table.ts'

const EVENTS = 6_000_000
const BATCH_EVENTS = 1_000
const HOURS = 24
const USERS = 200_000
const START_MS = Date.UTC(2026, 10, 24)
const COMMAND_MS_MAX = 600_000
const THREADS = '2'
const QUERY = 'select event, count(*), count(distinct user_id) from events group by 1'
const RAW_COLUMNS = `{event: 'VARCHAR', user_id: 'VARCHAR', messageId: 'VARCHAR', receivedAt: 'TIMESTAMPTZ', context: 'JSON', properties: 'JSON'}`
const COPIED = 'messageId as message_id, event, user_id, receivedAt as received_at, context, properties'

interface Timed {
  readonly name: string
  readonly ms: number[]
  readonly peakMib: number[]
}

/** Measures compaction and queries of an archive in a directory, beside DuckDB on its objects. */
export async function lake(site: Site): Promise<RowResult[]> {
  const { rounds, archiveEvents: events = EVENTS } = site.options
  const { path } = site.fresh('lake')
  const archive = join(path, 'archive')
  const location = archiveLocation(archive, path)
  const store = await openDirectoryStore({ path: archive })
  const made = { events, batchEvents: BATCH_EVENTS, hours: HOURS, users: USERS, startMs: START_MS }
  await makeArchive(store, location.prefix, made)
  progress(`  made an archive of ${events} events`)
  const lakeSite = new LakeSite(site, path, archive, location.prefix)
  const compaction = await lakeSite.compactions(rounds, events)
  const queries = await lakeSite.queries(rounds, events)
  await store.close()
  await site.discard(path)
  return [compaction, queries]
}

class LakeSite {
  readonly #site: Site
  readonly #path: string
  readonly #archive: string
  readonly #objects: string

  constructor(site: Site, path: string, archive: string, prefix: string) {
    this.#site = site
    this.#path = path
    this.#archive = archive
    this.#objects = join(archive, prefix)
  }

  async compactions(rounds: number, events: number): Promise<RowResult> {
    const ours: Timed = { name: 'frequency compact', ms: [], peakMib: [] }
    const peer: Timed = { name: "DuckDB's COPY, the same columns and order", ms: [], peakMib: [] }
    for (let round = 1; round <= rounds; round++) {
      await this.#removeTable()
      await this.#timed(ours, ['compact', '--no-progress'])
      peer.ms.push(await this.#copyByDuckdb())
      progress(`  compaction: round ${round} of ${rounds}, ${ours.ms.at(-1)} ms and ${peer.ms.at(-1)} ms`)
    }
    return {
      title: `${events} events of ${BATCH_EVENTS} an object into Parquet, a file for each of ${HOURS} hours`,
      goal: '0.6 × DuckDB’s own COPY, at most 1 GiB',
      lines: [ours, peer].map(each => lineOf(each, events)),
      notes: ['Peak: all processes of the command. DuckDB runs in the process of the bench.'],
    }
  }

  async queries(rounds: number, events: number): Promise<RowResult> {
    const compacted: Timed = { name: 'frequency query, compacted', ms: [], peakMib: [] }
    const start: Timed = { name: 'the same command with select 1', ms: [], peakMib: [] }
    const raw: Timed = { name: 'DuckDB on the objects, columns declared', ms: [], peakMib: [] }
    for (let round = 0; round <= rounds; round++) {
      await this.#timed(compacted, ['query', QUERY])
      await this.#timed(start, ['query', 'select 1'])
      raw.ms.push(await this.#onObjects(QUERY))
    }
    // The first round reads programs and files from the disk.
    for (const { ms } of [compacted, start, raw]) ms.shift()
    return {
      title: `${QUERY}, ${events} events`,
      goal: '10 × as fast as on the objects, without the start; 0.6 s with it',
      lines: [compacted, start, raw].map(each => lineOf(each, undefined)),
    }
  }

  async #timed({ ms, peakMib }: Timed, args: readonly string[]): Promise<void> {
    const { name, path: cwd } = this.#site.fresh('command')
    const startedAt = performance.now()
    const program = new Program(BUILT_PROGRAM, {
      ...{ name, cwd, args, workspace: this.#site.workspace },
      env: { ...process.env, ARCHIVE_URL: this.#archive, DATA_DIR: join(this.#path, 'data') },
    })
    const memory = new PeakMemory(program.pid)
    const { code } = await program.endsWithin(COMMAND_MS_MAX)
    ms.push(Math.round(performance.now() - startedAt))
    peakMib.push(memory.stop())
    if (code !== 0) throw new Error(`frequency ${args[0]} failed: ${program.output}`)
  }

  async #removeTable(): Promise<void> {
    for (const name of ['table', '_frequency/table'])
      await rm(join(this.#objects, name), { recursive: true, force: true })
  }

  get #source(): string {
    return `read_json('${join(this.#objects, 'dt=*/hour=*/*.ndjson.gz')}', format = 'newline_delimited', columns = ${RAW_COLUMNS}, hive_partitioning = true, hive_types_autocast = false)`
  }

  async #copyByDuckdb(): Promise<number> {
    const target = join(this.#path, 'copied')
    await rm(target, { recursive: true, force: true })
    return inDuckdb(
      `copy (select ${COPIED}, dt, hour from ${this.#source} order by event, received_at, message_id) to '${target}'
      (format parquet, compression zstd, partition_by (dt, hour))`,
      join(this.#path, 'spill'),
    )
  }

  #onObjects(query: string): Promise<number> {
    return inDuckdb(query.replace('from events', `from ${this.#source}`), join(this.#path, 'spill'))
  }
}

/** @returns milliseconds, without the start of DuckDB */
async function inDuckdb(sql: string, spill: string): Promise<number> {
  const instance = await DuckDBInstance.create(':memory:', { threads: THREADS, temp_directory: spill })
  const connection = await instance.connect()
  const startedAt = performance.now()
  await connection.runAndReadAll(sql)
  const ms = Math.round(performance.now() - startedAt)
  connection.closeSync()
  instance.closeSync()
  return ms
}

function lineOf({ name, ms, peakMib }: Timed, events: number | undefined): Line {
  return {
    name,
    ...(events === undefined ? { ms } : { eventsPerSecond: ms.map(each => (1_000 * events) / each) }),
    ...(peakMib.length > 0 && { memory: { peakMib: Math.max(...peakMib), anonMib: 0 } }),
    flaws: [],
  }
}
