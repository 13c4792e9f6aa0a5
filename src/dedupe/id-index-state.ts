/**
 * The state of an index on disk: its runs, which records they cover, and how far the log was read. It is one small
 * file, replaced as a whole after all runs that it names have been synced.
 */

import { type FileHandle, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { syncDirectory } from '../process/sync-directory.ts'
import type { LogPosition } from './id-index.ts'

const VERSION = 2
export const STATE_NAME = 'state'
const TEMPORARY_NAME = 'state~'
const CHECKSUM_DIGITS = 8

/** Ids that were added one after another, and are dropped together. */
export interface PartitionState {
  /** The last record that has ids of the partition. */
  readonly through: number
  /** When the first of the records was stored, in milliseconds since 1970. */
  readonly storedFrom: number
  /** When the last one was stored. */
  readonly storedThrough: number
  /** The numbers of the runs. */
  readonly runs: readonly number[]
}

export interface IdIndexState {
  readonly version: typeof VERSION
  /** The key of the mixer, in hexadecimal. */
  readonly key: string
  readonly position: LogPosition | null
  readonly remembersFrom: number
  /** The number of the next run: greater than the numbers of all runs before. */
  readonly nextRun: number
  readonly partitions: readonly PartitionState[]
  /** Ids that are in memory too, in the table that is being filled. */
  readonly tail: PartitionState | null
}

/** Resolves to undefined if there is no state. @throws Error if it is damaged, or cannot be read */
export async function readState(directory: string): Promise<IdIndexState | undefined> {
  const path = join(directory, STATE_NAME)
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (text === undefined) return undefined
  const json = text.slice(CHECKSUM_DIGITS)
  if (text.slice(0, CHECKSUM_DIGITS) !== checksumOf(json)) throw new Error(`${path} is damaged`)
  const state: IdIndexState = JSON.parse(json)
  if (state.version !== VERSION) throw new Error(`${path} is of another version`)
  return state
}

/**
 * Replaces the state. Resolves when it is on disk. The files that it names must be synced before; their entries in the
 * directory are synced here.
 *
 * @throws Error of the disk
 */
export async function writeState(directory: string, state: Omit<IdIndexState, 'version'>): Promise<void> {
  const json = JSON.stringify({ version: VERSION, ...state } satisfies IdIndexState)
  const temporary = join(directory, TEMPORARY_NAME)
  await withFile(temporary, 'w', async file => {
    await file.writeFile(checksumOf(json) + json)
    await file.sync()
  })
  await syncDirectory(directory)
  await rename(temporary, join(directory, STATE_NAME))
  await syncDirectory(directory)
}

async function withFile(
  path: string,
  flags: string,
  use: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const file = await open(path, flags)
  try {
    await use(file)
  } finally {
    await file.close()
  }
}

function checksumOf(json: string): string {
  return crc32(json).toString(16).padStart(CHECKSUM_DIGITS, '0')
}
