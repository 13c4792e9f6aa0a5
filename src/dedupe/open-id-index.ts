import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigInvalid } from '../errors.ts'
import { type DirectoryLock, lockOwnDirectory } from '../process/directory-lock.ts'
import type { Logger } from '../process/logger.ts'
import { DiskIdIndex, type IdIndexConfig } from './disk-id-index.ts'
import { IdDisk, type IdTail } from './id-disk.ts'
import { FILTER_NAME } from './id-filter-file.ts'
import type { IdIndex } from './id-index.ts'
import { type IdIndexState, type PartitionState, readState, STATE_NAME } from './id-index-state.ts'
import { ID_WORDS, IdMixer, KEY_BYTES } from './id-mixer.ts'
import { IdPartition } from './id-partition.ts'
import { type IdRun, openRun, runName } from './id-run.ts'
import { IdRunsReader } from './id-runs-reader.ts'
import { IdTable } from './id-table.ts'

/** Most indexes below one DATA_DIR. Each process has its own. */
const INDEXES_MAX = 64
/** Ids of a full table: about 4 MiB of memory. */
const TABLE_IDS = 131_072
/** A partition has room for at least this many full tables. */
const PARTITION_TABLES_MIN = 16
/** Most full tables of a partition. */
const PARTITION_TABLES_MAX = 128
/** The dedupe window has at least this many partitions. */
const WINDOW_PARTITIONS = 6
/** `dedupeIdsMax` ids have at least this many partitions. */
const IDS_PARTITIONS = 8
/** Errors that do not mean that a file is damaged: the process has not enough descriptors, memory or rights. */
const ENVIRONMENT_ERRORS = new Set<string | undefined>(['EMFILE', 'ENFILE', 'ENOMEM', 'EACCES', 'EPERM'])
const LOCK_PREFIX = 'lock'
const NOTHING = new Uint32Array(0)

/**
 * Opens an index below `path` that no other process has open, or creates one. A damaged index is deleted and created
 * again, empty: its content is read from the store again.
 *
 * @throws ConfigInvalid if the directory cannot be read or written, or if all indexes are in use
 */
export async function openIdIndex(path: string, config: IdIndexConfig, log: Logger): Promise<IdIndex> {
  for (let number = 0; number < INDEXES_MAX; number++) {
    const directory = join(path, String(number))
    const lock = await lockOwnDirectory(directory)
    if (lock === undefined) continue
    try {
      return await openLocked(directory, lock, config, log)
    } catch (error) {
      await lock.release()
      throw error
    }
  }
  throw new ConfigInvalid(
    `DATA_DIR: more than ${INDEXES_MAX} processes archive with ${path}. Use another directory.`,
  )
}

async function openLocked(
  directory: string,
  lock: DirectoryLock,
  config: IdIndexConfig,
  log: Logger,
): Promise<IdIndex> {
  try {
    const state = await readState(directory)
    return await open(directory, lock, config, log, state)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (ENVIRONMENT_ERRORS.has(code)) {
      throw new ConfigInvalid(`DATA_DIR: ${directory} cannot be read: ${message}`, { cause: error })
    }
    log.warn({ err: error }, 'The index of archived ids cannot be read. It is rebuilt from the archive.')
    return await open(directory, lock, config, log, undefined)
  }
}

async function open(
  directory: string,
  lock: DirectoryLock,
  config: IdIndexConfig,
  log: Logger,
  state: IdIndexState | undefined,
): Promise<IdIndex> {
  await removeUnknownFiles(directory, state)
  const key = state === undefined ? randomBytes(KEY_BYTES) : Buffer.from(state.key, 'hex')
  const share = Math.max(1, Math.floor(config.dedupeIdsMax / IDS_PARTITIONS))
  const tableIds = Math.max(1, Math.min(TABLE_IDS, Math.floor(share / PARTITION_TABLES_MIN)))
  const partitionMs = config.dedupeWindowMs / WINDOW_PARTITIONS
  const partitionIds = Math.min(share, tableIds * PARTITION_TABLES_MAX)
  const disk = new IdDisk({ directory, key, runIds: tableIds, partitionIds, partitionMs, log })
  const table = new IdTable()
  if (state !== undefined) await restore(directory, state, disk, table)
  return new DiskIdIndex({ config, log, lock, mixer: new IdMixer(key), disk, tableIds, partitionMs, table })
}

async function restore(directory: string, state: IdIndexState, disk: IdDisk, table: IdTable): Promise<void> {
  const opened: IdRun[] = []
  const partitionOf = async ({ runs, ...source }: PartitionState) => {
    const partition = new IdPartition(source, [])
    for (const number of runs) {
      const run = await openRun(number, join(directory, runName(number)))
      opened.push(run)
      partition.runs.push(run)
    }
    return partition
  }
  try {
    const partitions: IdPartition[] = []
    for (const each of state.partitions) partitions.push(await partitionOf(each))
    let tail: IdTail | undefined
    if (state.tail !== null) {
      const { runs, source } = await partitionOf(state.tail)
      tail = { run: runs[0] as IdRun, source }
      const [ids = NOTHING] = await new IdRunsReader().read(runs, 0, 2 ** 32)
      for (let at = 0; at < ids.length; at += ID_WORDS) table.add(ids, at)
    }
    await disk.restore(state, partitions, tail)
  } catch (error) {
    for (const run of opened) await run.close()
    throw error
  }
}

/** Removes the files that the state does not name: a crash, or another version, has left them. */
async function removeUnknownFiles(directory: string, state: IdIndexState | undefined): Promise<void> {
  await mkdir(directory, { recursive: true })
  const states =
    state === undefined ? [] : [...state.partitions, ...(state.tail === null ? [] : [state.tail])]
  const named = new Set(states.flatMap(({ runs }) => runs.map(runName)))
  if (state !== undefined) named.add(STATE_NAME).add(FILTER_NAME)
  for (const name of await readdir(directory)) {
    if (named.has(name) || name.startsWith(LOCK_PREFIX)) continue
    await rm(join(directory, name), { recursive: true, force: true })
  }
}
