import { randomUUID } from 'node:crypto'
import { link, open, readdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Config } from '../../config/config.ts'
import { nearestDirectory } from '../../process/nearest-directory.ts'
import { DiskRoom } from '../../queue/embedded/disk-room.ts'
import { type Finding, type Findings, inUnits, messageOf } from './finding.ts'

const PROBE_BYTES = 4096
/** A disk that takes longer for a write holds up every event that goes to it. */
const SYNC_MS_MAX = 100

/** Whether DATA_DIR can be written, and has room: for the embedded queue or the spool, and the known ids. */
export async function* checkDisk(config: Config): Findings {
  const path = resolve(config.dataDir)
  const written = await probeDirectory('data directory', path)
  yield written
  if (written.result === 'trouble') return
  if (config.amqpUrl !== undefined && (config.role === 'archive' || config.spool === 'off')) {
    yield { name: 'room', result: 'skipped', detail: 'this process has no spool' }
    return
  }
  yield await checkRoom(await nearestDirectory(path), config)
}

/** Whether an archive in a directory can be listed and written; objects come to their places as hard links. */
export async function* checkDirectory(path: string): Findings {
  const written = await probeDirectory('archive', path)
  yield written
  if (written.result === 'trouble') return
  try {
    const place = await nearestDirectory(path)
    if (place === path) await readdir(path)
    await probeLink(place)
    yield { name: 'hard links', result: 'ok', detail: 'can be made there, and files be listed' }
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
  if (free <= 0)
    return { name: 'room', result: 'trouble', detail: 'the disk is full: clients would get 503 instead' }
  if (free < spoolBytesMax)
    return {
      name: 'room',
      result: 'warning',
      detail: `${inUnits(free)} are free, and SPOOL_BYTES_MAX is ${wanted}: the disk will be full before`,
    }
  return { name: 'room', result: 'ok', detail: `${inUnits(free)} are free for at most ${wanted} of events` }
}

/** Writes a file there, or where the directory would be made, and removes it. */
async function probeDirectory(name: string, path: string): Promise<Finding> {
  let place = path
  try {
    place = await nearestDirectory(path)
    const ms = await probe(place)
    const detail = `${path} ${place === path ? 'can be written' : 'is not there yet, and can be made'}; a synced write takes ${ms} ms`
    return { name, result: ms > SYNC_MS_MAX ? 'warning' : 'ok', detail }
  } catch (error) {
    return { name, result: 'trouble', detail: `${path} cannot be used: ${messageOf(error)}` }
  }
}

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
