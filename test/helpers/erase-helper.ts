/** Helpers for tests of erasures. The engine is the built program: see compact-helper.ts. */
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import { DuckDBInstance } from '@duckdb/node-api'
import type { Test } from 'tap'
import { GIB, MIB } from '../../src/config/setting-types.ts'
import { Eraser, type EraserParts, type ErasureDone, type ErasurePlan } from '../../src/erase/eraser.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { tableKeys } from '../../src/table/table-keys.ts'
import type { TestArchive } from './archive-by-hand.ts'
import { silent, temporaryDirectory } from './helper.ts'

export interface EraseOptions extends Partial<EraserParts> {
  /** Called between the plan and the erasure. */
  readonly between?: (plan: ErasurePlan) => Promise<unknown>
  readonly cacheDirectory?: string
}

export type Erased = ErasurePlan & Partial<ErasureDone>

/** Opens an eraser in this process. To be closed by the caller. */
export function openEraser(
  t: Test,
  { prefix }: Pick<TestArchive, 'prefix'>,
  store: ObjectStore,
  { cacheDirectory = join(temporaryDirectory(t), 'cache'), ...parts }: EraseOptions = {},
): Promise<Eraser> {
  return Eraser.open({
    store,
    settings: {
      prefix,
      cacheDirectory,
      cacheBytesMax: GIB,
      residentBytesMax: 512 * MIB,
      spillBytesMax: GIB,
      threads: 1,
    },
    log: silent,
    stopping: new AbortController().signal,
    publish: async () => {},
    ...parts,
  })
}

/** Runs an eraser in this process. */
export async function erased(
  t: Test,
  archive: Pick<TestArchive, 'prefix'>,
  store: ObjectStore,
  where: string,
  { between, ...options }: EraseOptions = {},
): Promise<Erased> {
  const eraser = await openEraser(t, archive, store, options)
  try {
    const plan = await eraser.plan(where)
    await between?.(plan)
    if (plan.events === 0 && !plan.hasEarlier) return plan
    return { ...plan, ...(await eraser.erase(plan)) }
  } finally {
    await eraser.close()
  }
}

/** The keys of everything in a store whose bytes, as stored or unpacked, have one of these texts. */
export async function keysWith(
  t: Test,
  { store, prefix }: Pick<TestArchive, 'store' | 'prefix'>,
  texts: readonly string[],
): Promise<string[]> {
  const found: string[] = []
  for await (const key of store.list(`${prefix}/`)) {
    const { object } = await store.read(key)
    const bytes = object?.body ?? Buffer.alloc(0)
    const unpacked = await unpackedText(t, bytes)
    if (texts.some(text => bytes.includes(text) || unpacked.includes(text) || key.includes(text)))
      found.push(key)
  }
  return found
}

/** What compressed parts of some bytes say: gzip anywhere, as in a record of the log; or all values of a Parquet file. */
export async function unpackedText(t: Test, bytes: Buffer): Promise<string> {
  let text = ''
  for (let at = bytes.indexOf('1f8b08', 0, 'hex'); at !== -1; at = bytes.indexOf('1f8b08', at + 1, 'hex')) {
    try {
      text += zlib.gunzipSync(bytes.subarray(at), { finishFlush: zlib.constants.Z_SYNC_FLUSH }).toString()
    } catch {
      // These three bytes are no beginning of gzip.
    }
  }
  if (bytes.toString('latin1', 0, 4) !== 'PAR1') return text
  const path = join(temporaryDirectory(t), 'file.parquet')
  const { writeFile } = await import('node:fs/promises')
  await writeFile(path, bytes)
  const connection = await (await DuckDBInstance.create(':memory:', { threads: '1' })).connect()
  try {
    for (const of of [
      `read_parquet('${path}')`,
      `parquet_metadata('${path}')`,
      `parquet_kv_metadata('${path}')`,
    ])
      text += JSON.stringify((await connection.runAndReadAll(`select * from ${of}`)).getRowsJson())
    return text
  } finally {
    connection.closeSync()
  }
}

/** Keys of what is staged, or kept outside the glob. */
export async function stagedKeys({ store, prefix }: TestArchive): Promise<string[]> {
  const table = tableKeys(prefix)
  const keys: string[] = []
  for (const below of [`${prefix}/_frequency/erasures/`, `${prefix}/_frequency/staged/`, table.staged])
    for await (const key of store.list(below)) keys.push(key)
  return keys
}
