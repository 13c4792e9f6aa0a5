import { join } from 'node:path'
import { openStore } from '../../src/store/open-store.ts'
import { configOf } from '../../test/helpers/helper.ts'
import { type Drained, drain, drainLine, whenLogged } from '../drain.ts'
import { type FullQueue, fillEmbedded } from '../fill.ts'
import { diskBytes, linkedCopy } from '../linked-copy.ts'
import { makeFoldedLog, makeRecords } from '../make-log.ts'
import { type MemoryFigures, memory } from '../process-figures.ts'
import { progress } from '../progress.ts'
import type { ServerProcess } from '../server-process.ts'
import type { Site } from '../site.ts'
import { type Line, median, type RowResult } from '../table.ts'

const WINDOWS = [1_000_000, 10_000_000, 30_000_000, 100_000_000]
const WINDOWS_SMOKE = [50_000]
const EVENTS = 3_000_000
const BATCH_EVENTS = 20_000
const OPEN_MS_MAX = 300_000
const FIRST_MS_MAX = 120_000
const BUCKET = 'window'
/** Two folds, and half of the records of the next one. */
const S3_RECORDS = { records: 1_250, idsPerRecord: 1_000 }
const S3_RECORDS_SMOKE = { records: 10, idsPerRecord: 1_000 }
const MIB = 2 ** 20

/** An archive with a number of ids, and an index of them. */
interface Window {
  readonly name: string
  readonly ids: number
  /** Path of the archive. */
  readonly archive: string
  /** Data directory with the index, which no process uses. */
  dataDir: string
  diskBytes: number
  readonly opened: Opened[]
  readonly drains: Drained[]
  readonly restarts: Opened[]
  readonly flaws: string[]
}

/** Time from the start of a process to a log line, and its memory then. */
interface Opened {
  readonly ms: number
  readonly memory: MemoryFigures
}

/** Measures the index of ids of an archiver, from no id to the ids of a day. */
export async function window(site: Site): Promise<RowResult[]> {
  const { rounds, archiveEvents = EVENTS, isSmoke } = site.options
  const sizes = site.options.windows ?? (isSmoke ? WINDOWS_SMOKE : WINDOWS)
  const windows: Window[] = []
  for (const size of [0, ...sizes]) windows.push(await makeWindow(site, size))
  const queue = await fillEmbedded(site, 'clients', archiveEvents)
  const s3 = await makeS3(site)
  for (let n = 1; n <= rounds; n++) {
    for (const each of windows) {
      await openNew(site, each)
      await archiveOnce(site, each, queue)
      await killAndStart(site, each, queue)
      const [opened, drained, restarted] = [each.opened.at(-1), each.drains.at(-1), each.restarts.at(-1)]
      progress(
        `  ${each.name}: round ${n} of ${rounds}, open after ${opened?.ms} ms, ${Math.round(drained?.eventsPerSecond ?? 0)} events a second, first object after a kill ${restarted?.ms} ms, at most ${Math.round(drained?.memory.peakMib ?? 0)} MiB`,
      )
    }
    await s3.openAll()
  }
  return [
    archivingOf(windows, queue, site.options.batchEvents ?? BATCH_EVENTS),
    restartsOf(windows),
    newMachinesOf(windows),
    s3.result(),
  ]
}

async function makeWindow(site: Site, ids: number): Promise<Window> {
  const name = ids === 0 ? 'no id' : `${ids.toLocaleString('en-US')} ids`
  const { path: archive } = site.fresh('archive')
  if (ids > 0) await makeFoldedLog(archive, ids)
  progress(`  ${name}: the log is made`)
  return { name, ids, archive, dataDir: '', diskBytes: 0, opened: [], drains: [], restarts: [], flaws: [] }
}

function envOf(site: Site, dataDir: string, archive: string): Record<string, string> {
  return {
    DATA_DIR: dataDir,
    ARCHIVE_URL: archive,
    BATCH_EVENTS_MAX: String(site.options.batchEvents ?? BATCH_EVENTS),
    BATCH_AGE_MS_MAX: String(site.options.batchAgeMs),
  }
}

/** Starts an archiver with an empty disk, as on a new machine. Keeps the index that it makes. */
async function openNew(site: Site, each: Window): Promise<void> {
  const { path: dataDir } = site.fresh('new')
  const { path: archive } = site.fresh('archive')
  await site.discard(archive)
  await linkedCopy(each.archive, archive)
  await site.settle()
  const server = site.frequency([], { ...envOf(site, dataDir, archive), LOG_LEVEL: 'debug' })
  each.opened.push(await opened(server, 'The log is open.', OPEN_MS_MAX))
  await site.settle(server)
  await server.stop()
  await site.discard(archive)
  if (each.dataDir !== '') await site.discard(each.dataDir)
  each.dataDir = dataDir
  each.diskBytes = await diskBytes(join(dataDir, 'dedupe'))
}

async function opened(server: ServerProcess, message: string, msMax: number): Promise<Opened> {
  const ms = await whenLogged(server, message, msMax)
  return { ms, memory: memory(server.pid) }
}

/** Makes a data directory with the index and a full queue. Resolves to the environment of an archiver. */
async function prepare(site: Site, each: Window, queue: FullQueue): Promise<Record<string, string>> {
  const { path: dataDir } = site.fresh('data')
  const { path: archive } = site.fresh('archive')
  await site.discard(archive)
  await queue.copyTo(dataDir)
  await linkedCopy(join(each.dataDir, 'dedupe'), join(dataDir, 'dedupe'))
  await linkedCopy(each.archive, archive)
  await site.settle()
  return envOf(site, dataDir, archive)
}

async function archiveOnce(site: Site, each: Window, queue: FullQueue): Promise<void> {
  const env = await prepare(site, each, queue)
  const server = site.frequency([], env)
  const { least } = queue.filled
  each.drains.push({ ...(await drain(site, server, least)), filled: least })
  each.flaws.push(...(await site.flawsOfArchive(env.ARCHIVE_URL as string, queue.filled)))
  await site.discard(env.DATA_DIR as string)
  await site.discard(env.ARCHIVE_URL as string)
}

/** Kills an archiver after three batches, and starts it again with the same data directory. */
async function killAndStart(site: Site, each: Window, queue: FullQueue): Promise<void> {
  const env = await prepare(site, each, queue)
  const killed = site.frequency([], env)
  for (let n = 0; n < 3; n++) await whenLogged(killed, 'Batch archived.', FIRST_MS_MAX)
  await killed.kill('SIGKILL').ended
  const server = site.frequency([], env)
  each.restarts.push(await opened(server, 'Batch archived.', FIRST_MS_MAX))
  await server.stop()
  await site.discard(env.DATA_DIR as string)
  await site.discard(env.ARCHIVE_URL as string)
}

function archivingOf(windows: readonly Window[], { filled }: FullQueue, batchEvents: number): RowResult {
  const base = Math.max(...(windows[0]?.drains.map(({ memory: each }) => each.peakMib) ?? [0]))
  return {
    title: `Archiving ${filled.least} events with clients' ids, by number of ids in the index, into a directory, batches of ${batchEvents}`,
    goal: 'within 15 % throughout; at most 200 MiB and 2 bytes an id; at most 20 bytes of disk an id',
    lines: windows.map(({ name, drains, flaws }) => drainLine(`frequency, ${name}`, drains, flaws)),
    notes: windows
      .filter(({ ids }) => ids > 0)
      .map(each => {
        const peak = Math.max(...[...each.drains, ...each.opened].map(({ memory: { peakMib } }) => peakMib))
        const resident = ((peak - base) * MIB) / each.ids
        return `${each.name}: at most ${Math.round(peak)} MiB, ${resident.toFixed(2)} bytes an id more than without; ${(each.diskBytes / each.ids).toFixed(1)} bytes of disk an id`
      }),
  }
}

function restartsOf(windows: readonly Window[]): RowResult {
  return {
    title: 'Restart of a killed archiver: from its start to its first object',
    goal: 'at most 5 s',
    lines: windows.map(({ name, restarts }) => openedLine(`frequency, ${name}`, restarts)),
  }
}

function openedLine(name: string, opens: readonly Opened[]): Line {
  const peaks = opens.map(each => each.memory)
  return {
    name,
    ms: opens.map(({ ms }) => ms),
    memory: {
      peakMib: Math.max(...peaks.map(({ peakMib }) => peakMib)),
      anonMib: Math.max(...peaks.map(({ anonMib }) => anonMib)),
    },
    flaws: [],
  }
}

function newMachinesOf(windows: readonly Window[]): RowResult {
  const base = median(windows[0]?.opened.map(({ ms }) => ms)) ?? 0
  return {
    title:
      'Start on a new machine with an empty disk: until the log in a directory is read, all records folded',
    goal: 'at least 3 million ids a second',
    lines: windows.map(({ name, opened: opens }) => openedLine(`frequency, ${name}`, opens)),
    notes: windows
      .filter(({ ids }) => ids > 0)
      .map(({ name, ids, opened: opens }) => rateOf(name, ids, opens, base)),
  }
}

function rateOf(name: string, ids: number, opens: readonly Opened[], baseMs: number): string {
  const ms = (median(opens.map(each => each.ms)) ?? Number.NaN) - baseMs
  if (ms <= 0) return `${name}: too few ids for a rate`
  const perSecond = Math.round((ids / ms) * 1_000).toLocaleString('en-US')
  return `${name}: ${perSecond} ids a second, without the time of a start`
}

/** Measures the same start with an archive in S3, in which the last records are not folded. */
async function makeS3(site: Site): Promise<{ openAll(): Promise<void>; result(): RowResult }> {
  const { records, idsPerRecord } = site.options.isSmoke ? S3_RECORDS_SMOKE : S3_RECORDS
  const s3 = await site.bucketEnv(BUCKET)
  Object.assign(process.env, s3)
  const archives = [
    { name: 'no record', ids: 0, url: `s3://${BUCKET}/empty`, opened: [] as Opened[] },
    {
      name: `${records} records of ${idsPerRecord}`,
      ids: records * idsPerRecord,
      url: `s3://${BUCKET}/records`,
      opened: [] as Opened[],
    },
  ]
  const store = await openStore(configOf({ ...s3, ARCHIVE_URL: `s3://${BUCKET}/records` }))
  await makeRecords(store, 'records', { records, idsPerRecord })
  await store.close()
  return {
    async openAll() {
      for (const each of archives) {
        const { path } = site.fresh('new')
        await site.settle()
        const server = site.frequency([], { ...envOf(site, path, each.url), ...s3, LOG_LEVEL: 'debug' })
        each.opened.push(await opened(server, 'The log is open.', OPEN_MS_MAX))
        progress(`  ${each.name} in S3: open after ${each.opened.at(-1)?.ms} ms`)
        await server.stop()
      }
    },
    result() {
      const base = median(archives[0]?.opened.map(({ ms }) => ms)) ?? 0
      return {
        title: 'The same with an archive in S3 (radosgw), in which the last records are not folded',
        goal: 'at least 1 million ids a second',
        lines: archives.map(each => openedLine(`frequency, ${each.name}`, each.opened)),
        notes: archives
          .filter(({ ids }) => ids > 0)
          .map(each => rateOf(each.name, each.ids, each.opened, base)),
      }
    },
  }
}
