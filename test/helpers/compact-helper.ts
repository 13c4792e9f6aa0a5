/** Helpers for tests of an archive's table. The engine is the built program, in a process of its own. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import type { Test } from 'tap'
import { type CompactionReport, Compactor, type CompactorParts } from '../../src/compact/compactor.ts'
import { GIB } from '../../src/config/setting-types.ts'
import { QueryCache } from '../../src/query/query-cache.ts'
import { QuerySession } from '../../src/query/query-session.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { buildProgram } from '../bin/program.ts'
import type { TestArchive } from './archive-by-hand.ts'
import { temporaryDirectory } from './helper.ts'

/** Builds the program, and lets engines of this process run it. */
export async function useBuiltEngine(t: Test): Promise<void> {
  const own = process.argv[1] as string
  process.argv[1] = await buildProgram(t)
  t.teardown(() => {
    process.argv[1] = own
  })
}

/** Runs a compactor in this process. */
export async function compacted(
  t: Test,
  { prefix }: TestArchive,
  store: ObjectStore,
  parts: Partial<CompactorParts> & { readonly isDue?: (hour: number) => boolean } = {},
): Promise<CompactionReport> {
  const cache = await QueryCache.open(join(temporaryDirectory(t), 'cache'), GIB)
  try {
    const compactor = new Compactor({
      store,
      prefix,
      cache,
      spillBytesMax: GIB,
      threads: 1,
      columns: [],
      stopping: new AbortController().signal,
      publish: async () => {},
      ...parts,
    })
    return await compactor.run(parts.isDue ?? (() => true))
  } finally {
    const left = readdirSync(cache.runDirectory).filter(name => name.endsWith('.rows'))
    t.strictSame(left, [], 'no rows are left on the disk')
    await cache.close()
  }
}

/** The ids of the view `events`, sorted. */
export async function queriedIds(t: Test, { prefix, store }: TestArchive): Promise<string[]> {
  const session = await QuerySession.open(
    store,
    {
      prefix,
      cacheDirectory: join(temporaryDirectory(t), 'cache'),
      cacheBytesMax: GIB,
      residentBytesMax: GIB,
      spillBytesMax: GIB,
      threads: 1,
    },
    {},
  )
  try {
    await session.ready()
    const { answer } = await session.query('select message_id from events order by 1', 100_000)
    return answer?.rows.map(([id]) => String(id)) ?? []
  } finally {
    await session.close()
  }
}

/** What a glob over the table's files has: ids, sorted, with the partitions and the typed columns. */
export async function globbedRows(
  archivePath: string,
  select = 'message_id',
): Promise<readonly (readonly unknown[])[]> {
  const connection = await (await DuckDBInstance.create(':memory:', { threads: '1' })).connect()
  await connection.run("set timezone = 'UTC'")
  const glob = join(archivePath, 'frequency/table/data/**/*.parquet')
  try {
    const reader = await connection.runAndReadAll(
      `select ${select} from read_parquet('${glob}', hive_partitioning = true, hive_types_autocast = false, union_by_name = true) order by all`,
    )
    return reader.getRows()
  } catch (error) {
    if (/No files found/.test((error as Error).message)) return []
    throw error
  } finally {
    connection.closeSync()
  }
}
