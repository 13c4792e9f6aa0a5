/** The log on disk, on which the embedded queue and the spool are built: what it keeps, also after faults. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Test, test } from 'tap'
import type { DiskLog, LogEntry } from '../../../src/queue/embedded/disk-log.ts'
import { type LogFiles, systemFiles } from '../../../src/queue/embedded/disk-log-files.ts'
import {
  bodyOf,
  bytesOf,
  copyOf,
  numberIn,
  numbersIn,
  openLog,
  readEvents,
  segmentFiles,
} from '../../helpers/disk-log-helper.ts'
import {
  createRandom,
  liveBufferBytes,
  type Random,
  range,
  temporaryDirectory,
} from '../../helpers/helper.ts'

const PROGRAM = new URL('../../helpers/disk-log-process.ts', import.meta.url).pathname
const KILLS = 10
const KIB = 1024
const MIB = 1024 * KIB

/** Appends these events. Resolves to whether each append has succeeded. */
async function outcomes(log: DiskLog, numbers: readonly number[]): Promise<boolean[]> {
  const settled = await Promise.allSettled(numbers.map(n => log.append(bodyOf(n, 3_000), 1)))
  return settled.map(({ status }) => status === 'fulfilled')
}

test('appends that come during a sync share the next one', async t => {
  let syncs = 0
  const files: LogFiles = {
    ...systemFiles,
    sync: async fd => {
      syncs++
      await sleep(20)
      await systemFiles.sync(fd)
    },
  }
  const log = await openLog(t, temporaryDirectory(t), { files })
  syncs = 0
  const first = log.append(bodyOf(0), 1)
  await sleep(5)
  await Promise.all([first, ...range(100).map(n => log.append(bodyOf(1 + n), 1))])
  t.equal(syncs, 2)
  t.same(await numbersIn(log), range(101))
})

test('if a sync fails, its group is refused and never delivered, and the next group gets a new file', async t => {
  for (const canTruncate of [true, false]) {
    let failing = false
    const files: LogFiles = {
      ...systemFiles,
      sync: async fd => {
        if (failing) throw new Error('EIO: i/o error, fdatasync')
        await systemFiles.sync(fd)
      },
      truncate: async (fd, bytes) => {
        if (!canTruncate) throw new Error('EIO: i/o error, ftruncate')
        await systemFiles.truncate(fd, bytes)
      },
    }
    const path = temporaryDirectory(t)
    const log = await openLog(t, path, { files })
    t.same(await outcomes(log, [0, 1]), [true, true])
    failing = true
    t.same(await outcomes(log, [2, 3]), [false, false])
    t.same(await outcomes(log, [4]), [false])
    failing = false
    t.same(await outcomes(log, [5, 6]), [true, true])
    t.equal(segmentFiles(path).length, 2)
    t.same(await numbersIn(log), [0, 1, 5, 6])
    t.equal(log.events, 4)
    t.equal(log.bytes, bytesOf(segmentFiles(path)))
    const again = await openLog(t, copyOf(t, path))
    t.same(again.damages, [])
    const numbers = await numbersIn(again)
    // A group that could not be truncated away may be delivered: its clients were told to send it again.
    t.same(
      numbers.filter(n => canTruncate || (n !== 2 && n !== 3)),
      [0, 1, 5, 6],
    )
  }
})

test('a full disk refuses an event that does not fit, and accepts events again when there is room', async t => {
  let room = 20_000
  const files: LogFiles = {
    ...systemFiles,
    write: async (fd, data, position) => {
      const fits = Math.min(room, data.length)
      room -= fits
      await systemFiles.write(fd, data.subarray(0, fits), position)
      if (fits < data.length) throw new Error('ENOSPC: no space left on device, write')
    },
  }
  const path = temporaryDirectory(t)
  const log = await openLog(t, path, { files })
  const accepted: number[] = []
  for (const n of range(30)) if ((await outcomes(log, [n]))[0]) accepted.push(n)
  t.ok(accepted.length >= 5 && accepted.length < 10, `${accepted.length} fit`)
  t.equal(segmentFiles(path).length, 1, 'refused events leave no file behind')
  room = 1_000_000
  for (const n of [30, 31]) if ((await outcomes(log, [n]))[0]) accepted.push(n)
  t.ok(accepted.includes(31))
  t.same(await numbersIn(log), accepted)
  t.equal(log.bytes, bytesOf(segmentFiles(path)))
  const again = await openLog(t, copyOf(t, path))
  t.same(again.damages, [])
  t.same(await numbersIn(again), accepted)
})

test('an entry whose dead letter cannot be written is not dropped, and becomes a dead letter later', async t => {
  let failing = false
  const files: LogFiles = {
    ...systemFiles,
    sync: async fd => {
      if (failing) throw new Error('EIO: i/o error, fdatasync')
      await systemFiles.sync(fd)
    },
  }
  const path = temporaryDirectory(t)
  const log = await openLog(t, path, { files })
  await outcomes(log, range(5))
  const entries = await readEvents(log, 5)
  failing = true
  await t.rejects(log.addDead(entries[1]?.key as number, entries[1]?.value as Buffer), /EIO/)
  t.equal(log.events, 5)
  await log.dropThrough(entries[3]?.key as number, 3)
  t.same((await readEvents(log, 1)).map(numberIn), [4], 'it is delivered again in the next run only')
  const killed = await openLog(t, copyOf(t, path))
  t.same(await numbersIn(killed), [1, 2, 3, 4])
  failing = false
  await log.dropThrough(entries[3]?.key as number, 0)
  t.equal(log.events, 1)
  const again = await openLog(t, copyOf(t, path))
  t.same(await numbersIn(again), [4])
  t.same([...again.readDead()].map(numberIn), [1])
})

test('a process that is killed repeatedly loses no event, and no file looks damaged', async t => {
  const path = temporaryDirectory(t)
  const random = createRandom(1)
  const appended = new Set<number>()
  let dropped = -1
  let from = 0
  for (const _ of range(KILLS)) {
    const child = spawn(process.execPath, ['--import=tsx', PROGRAM, path, String(from)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => child.kill('SIGKILL'))
    const output = text(child.stdout)
    await once(child.stdout, 'data')
    await sleep(random(400))
    child.kill('SIGKILL')
    const lines = (await output).split('\n').slice(0, -1)
    t.same(
      lines.filter(line => line.startsWith('!')),
      [],
    )
    for (const line of lines) {
      const n = Number(line.slice(1))
      if (line.startsWith('+')) appended.add(n)
      else dropped = Math.max(dropped, n)
    }
    from = Math.max(...appended) + 10_000
  }
  const log = await openLog(t, path)
  const numbers = await numbersIn(log)
  const present = new Set(numbers)
  t.same(
    [...appended].filter(n => n > dropped && !present.has(n)),
    [],
    `${appended.size} appended`,
  )
  t.same(
    numbers.toSorted((a, b) => a - b),
    numbers,
  )
  t.same(log.damages, [])
})

test('a reader during appends gets each entry once, in order, with bounded memory', async t => {
  const log = await openLog(t, temporaryDirectory(t), { segmentBytes: 4 * MIB })
  const count = 8_000
  const bytes = 8 * KIB
  const before = liveBufferBytes()
  let most = 0
  const appending = Promise.all(
    range(32).map(async first => {
      for (let n = first; n < count; n += 32) await log.append(bodyOf(n, bytes), 1)
    }),
  )
  const seen: number[] = []
  let cursor = log.dropped
  while (seen.length < count) {
    const more = new Promise<void>(resolve => (log.readable = resolve))
    let events = 0
    for (const entry of log.read(cursor)) {
      seen.push(numberIn(entry))
      cursor = entry.key
      events++
    }
    if (seen.length % 7 === 0) await sleep(1)
    if (events > 0 && seen.length % 3 === 0) await log.dropThrough(cursor, events)
    if (seen.length < count) await more
    if (seen.length % 11 === 0) most = Math.max(most, liveBufferBytes() - before)
  }
  await appending
  t.same(
    seen.toSorted((a, b) => a - b),
    range(count),
  )
  t.ok(most < 8 * MIB, `${(most / MIB).toFixed(1)} MiB of ${(count * bytes) / MIB}`)
})

/** Expected content of a log. */
interface Expected {
  entries: { n: number; key: number; count: number }[]
  dead: number[]
}

test('a log behaves like an array under random operations', async t => {
  for (const seed of range(12)) await compare(t, createRandom(seed))
})

async function compare(t: Test, random: Random): Promise<void> {
  const options = { segmentBytes: 64 * KIB }
  let path = temporaryDirectory(t)
  let log = await openLog(t, path, options)
  const expected: Expected = { entries: [], dead: [] }
  const keys = new Map<number, number>()
  let next = 0
  const actions = {
    append: async () => {
      const added = range(1 + random(20)).map(() => ({ n: next++, count: 1 + random(4_096), key: 0 }))
      await Promise.all(
        added.map(each => {
          const size = random(12) === 0 ? 300 * KIB : 20 + random(2_000)
          const appended = log.append(bodyOf(each.n, size), each.count)
          each.key = log.lastKey
          keys.set(each.n, each.key)
          return appended
        }),
      )
      expected.entries.push(...added)
    },
    drop: async () => {
      const dropped = expected.entries.splice(0, random(expected.entries.length + 1))
      const events = dropped.reduce((sum, { count }) => sum + count, 0)
      if (dropped.length > 0) await log.dropThrough(dropped.at(-1)?.key as number, events)
    },
    addDead: async () => {
      const [entry] = expected.entries.splice(random(expected.entries.length), 1)
      if (entry === undefined) return
      await log.addDead(entry.key, bodyOf(entry.n, 100))
      expected.dead.push(entry.n)
    },
    dropDead: async () => {
      const [n] = expected.dead.splice(random(expected.dead.length), 1)
      if (n !== undefined) await log.dropDead(keys.get(n) as number)
    },
    reopen: async () => {
      await log.close()
      log = await openLog(t, path, options)
    },
    kill: async () => {
      path = copyOf(t, path)
      log = await openLog(t, path, options)
    },
    readOn: async () => {
      const from = expected.entries[random(expected.entries.length)]
      if (from === undefined) return
      const later = expected.entries.filter(({ key }) => key > from.key)
      const events = later.reduce((sum, { count }) => sum + count, 0)
      t.same(
        (await readEvents(log, events, from.key)).map(numberIn),
        later.map(({ n }) => n),
      )
    },
  }
  const names = Object.keys(actions) as (keyof typeof actions)[]
  for (const _ of range(60)) {
    await actions[random(3) === 0 ? 'append' : (names[random(names.length)] as keyof typeof actions)]()
    await checkContent(t, log, expected)
  }
  await log.close()
  t.equal(log.bytes, bytesOf(segmentFiles(path)), `${next} appended, ${readdirSync(path).length} files`)
}

async function checkContent(t: Test, log: DiskLog, { entries, dead }: Expected): Promise<void> {
  const oldest = log.oldest
  const found: Record<string, unknown> = {
    numbers: (await readEvents(log, log.events)).map(numberIn),
    events: log.events,
    oldest: oldest && numberIn(oldest),
    dead: [...log.readDead()].map((entry: LogEntry) => numberIn(entry)),
    damages: log.damages,
  }
  const wanted = {
    numbers: entries.map(({ n }) => n),
    events: entries.reduce((sum, { count }) => sum + count, 0),
    oldest: entries[0]?.n,
    dead: dead.toSorted((a, b) => a - b),
    damages: [],
  }
  if (JSON.stringify(found) !== JSON.stringify(wanted)) t.same(found, wanted)
}
