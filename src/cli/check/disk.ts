import { randomUUID } from 'node:crypto'
import { link, open, readdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Config } from '../../config/config.ts'
import { nearestDirectory } from '../../process/nearest-directory.ts'
import { DiskRoom } from '../../queue/embedded/disk-room.ts'
import { formerLogBelow } from '../../queue/embedded/former-log.ts'
import { type Finding, type Findings, inUnits, messageOf } from './finding.ts'

const PROBE_BYTES = 4096
/** If a write takes longer, it delays every event that goes to this disk. */
const SYNC_MS_MAX = 100

/** Tests whether DATA_DIR can be written, and has room for the embedded queue or the spool. */
export async function* checkDisk(config: Config): Findings {
  const path = resolve(config.dataDir)
  const written = await probeDirectory('data directory', path)
  yield written
  if (written.result === 'trouble') return
  if (config.amqpUrl !== undefined && (config.role === 'archive' || config.spool === 'off')) {
    yield { name: 'room', result: 'skipped', detail: 'this process has no spool' }
  } else {
    yield await checkRoom(await nearestDirectory(path), config)
  }
  const hasDiskQueue = config.amqpUrl === undefined || config.role !== 'archive'
  const former = hasDiskQueue ? formerLog(path) : undefined
  if (former !== undefined) yield { name: 'queue on disk', result: 'trouble', detail: former }
}
function formerLog(path: string): string | undefined {
  try {
    return formerLogBelow(path)
  } catch (error) {
    return messageOf(error)
  }
}

/** Tests whether an archive in a directory can be listed and written. Objects get their final names as hard links. */
export async function* checkDirectory(path: string): Findings {
  const written = await probeDirectory('archive', path)
  yield written
  if (written.result === 'trouble') return
  try {
    const nearest = await nearestDirectory(path)
    if (nearest === path) await readdir(path)
    await probeLink(nearest)
    yield { name: 'hard links', result: 'ok', detail: 'can be created, and files can be listed' }
  } catch (error) {
    yield { name: 'hard links', result: 'trouble', detail: messageOf(error) }
  }
}

async function probeLink(directory: string): Promise<void> {
  const path = join(directory, `.frequency-check-${randomUUID()}`)
  await (await open(path, 'wx')).close()
  try {
    await link(path, `${path}-link`)
  } finally {
    await rm(path)
    await rm(`${path}-link`, { force: true })
  }
}

async function checkRoom(path: string, { spoolBytesMax }: Config): Promise<Finding> {
  const room = new DiskRoom(path)
  await room.refresh()
  const free = room.bytes
  const wanted = inUnits(spoolBytesMax)
  if (free <= 0) return { name: 'room', result: 'trouble', detail: 'the disk is full: clients would get 503' }
  if (free < spoolBytesMax)
    return {
      name: 'room',
      result: 'warning',
      detail: `${inUnits(free)} are free, but SPOOL_BYTES_MAX is ${wanted}: the disk will be full first`,
    }
  return { name: 'room', result: 'ok', detail: `${inUnits(free)} are free for at most ${wanted} of events` }
}

/** Writes and deletes a file in the directory, or in the nearest existing one above it. */
async function probeDirectory(name: string, path: string): Promise<Finding> {
  let nearest = path
  try {
    nearest = await nearestDirectory(path)
    const ms = await probe(nearest)
    const detail = `${path} ${nearest === path ? 'can be written' : 'does not exist yet, and can be created'}; a synced write takes ${ms} ms`
    return { name, result: ms > SYNC_MS_MAX ? 'warning' : 'ok', detail }
  } catch (error) {
    return { name, result: 'trouble', detail: `${path} cannot be used: ${messageOf(error)}` }
  }
}

/** @returns how long a synced write takes, in milliseconds. */
async function probe(directory: string): Promise<number> {
  const path = join(directory, `.frequency-check-${randomUUID()}`)
  const file = await open(path, 'wx')
  try {
    const startedAt = performance.now()
    await file.write(Buffer.alloc(PROBE_BYTES))
    await file.datasync()
    return Math.ceil(performance.now() - startedAt)
  } finally {
    await file.close()
    await rm(path)
  }
}
