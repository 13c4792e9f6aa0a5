/**
 * The file of a filter (id-filter.ts). It saves a start from reading all ids. It is not synced: if it is damaged, the
 * filter is rebuilt from the runs.
 *
 *     blocks     all blocks in use, in pieces of 4 MiB
 *     head       JSON
 *     tail       8 bytes: the length of the head, and its CRC-32
 */

import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { readFully, writeFully } from './file-io.ts'
import { IdFilter, type IdFilterShape } from './id-filter.ts'

export const FILTER_NAME = 'filter'
const TEMPORARY_NAME = 'filter~'
const TAIL_BYTES = 8

interface Head {
  /** As in IdIndexState. */
  readonly key: string
  readonly shape: IdFilterShape
  /** The numbers of the runs whose ids are all in the filter. It may have ids of other runs too. */
  readonly runs: readonly number[]
  /** How many ids were added to the filter. */
  readonly ids: number
  /** CRC-32 of each piece. */
  readonly checksums: readonly number[]
}

/**
 * Replaces the file.
 *
 * @param afterPiece is called after each piece, and may add ids to the filter. If it resolves to false, the former file
 * stays.
 * @throws Error of the disk
 */
export async function writeFilter(
  directory: string,
  filter: IdFilter,
  { key, runs, ids }: Pick<Head, 'key' | 'runs' | 'ids'>,
  afterPiece: () => Promise<boolean>,
): Promise<void> {
  const temporary = join(directory, TEMPORARY_NAME)
  const file = await open(temporary, 'w')
  try {
    const head: Head = { key, shape: filter.shape, runs, ids, checksums: [] }
    const checksums: number[] = []
    let position = 0
    for (const piece of filter.pieces) {
      checksums.push(crc32(piece))
      position = await writeFully(file, piece, position)
      if (!(await afterPiece())) {
        await rm(temporary)
        return
      }
    }
    const json = Buffer.from(JSON.stringify({ ...head, checksums }))
    const tail = Buffer.alloc(TAIL_BYTES)
    tail.writeUInt32LE(json.length)
    tail.writeUInt32LE(crc32(json), 4)
    await writeFully(file, Buffer.concat([json, tail]), position)
    await rename(temporary, join(directory, FILTER_NAME))
  } finally {
    await file.close()
  }
}

/**
 * Resolves to undefined if there is no file, or if it is damaged or of another index.
 *
 * @param key as in IdIndexState
 */
export async function readFilter(
  directory: string,
  key: string,
): Promise<{ filter: IdFilter; runs: ReadonlySet<number>; ids: number } | undefined> {
  const file = await open(join(directory, FILTER_NAME)).catch(() => undefined)
  if (file === undefined) return undefined
  try {
    const head = await readHead(file)
    if (head.key !== key) return undefined
    const filter = new IdFilter(head.shape)
    let position = 0
    for (const [number, piece] of filter.pieces.entries()) {
      await readFully(file, piece, position)
      if (crc32(piece) !== head.checksums[number]) return undefined
      position += piece.length
    }
    return { filter, runs: new Set(head.runs), ids: head.ids }
  } catch {
    return undefined
  } finally {
    await file.close()
  }
}

/** @throws Error if the head is missing or damaged */
async function readHead(file: FileHandle): Promise<Head> {
  const { size } = await file.stat()
  const tail = Buffer.alloc(TAIL_BYTES)
  await readFully(file, tail, Math.max(0, size - TAIL_BYTES))
  const length = tail.readUInt32LE()
  if (length + TAIL_BYTES > size) throw new Error('its tail is damaged')
  const json = Buffer.alloc(length)
  await readFully(file, json, size - TAIL_BYTES - length)
  if (crc32(json) !== tail.readUInt32LE(4)) throw new Error('its head is damaged')
  return JSON.parse(json.toString())
}
