import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Test, test } from 'tap'
import type { IdIndex, LogPosition } from '../../../src/dedupe/id-index.ts'
import { openIdIndex } from '../../../src/dedupe/open-id-index.ts'
import { ID_BYTES } from '../../../src/event/message-id.ts'
import type { Logger } from '../../../src/process/logger.ts'
import {
  createRandom,
  elapsed,
  type Random,
  range,
  silent,
  temporaryDirectory,
} from '../../helpers/helper.ts'

const HOUR_MS = 60 * 60 * 1000
const WINDOW_MS = 24 * HOUR_MS
/** Most ids of an index with tables of 125 ids, and partitions of 2,000. */
const SMALL = 16_000

/** Makes an id for each number. Clients choose ids of all these kinds. */
const KINDS: Record<string, (n: number) => Buffer> = {
  hashes: n => createHash('sha256').update(`id ${n}`).digest().subarray(0, ID_BYTES),
  'ids that count up at their end': n => {
    const id = Buffer.alloc(ID_BYTES)
    id.writeUInt32BE(n, ID_BYTES - 4)
    return id
  },
  'ids that differ at their beginning alone': n => {
    const id = Buffer.alloc(ID_BYTES, 0xff)
    id.writeUInt32LE(n)
    return id
  },
  'ids of one moment': n => {
    const id = createHash('sha256').update(`id ${n}`).digest().subarray(0, ID_BYTES)
    id.writeUIntBE(1_764_000_000_000 + (n >>> 6), 0, 6)
    return id
  },
}
const idOf = KINDS.hashes as (n: number) => Buffer

interface Opening {
  readonly idsMax?: number
  readonly log?: Logger
}

async function open(t: Test, path: string, { idsMax = SMALL, log = silent }: Opening = {}): Promise<IdIndex> {
  const index = await openIdIndex(path, { dedupeWindowMs: WINDOW_MS, dedupeIdsMax: idsMax }, log)
  t.teardown(() => index.close().catch(() => {}))
  return index
}

function positionOf(number: number): LogPosition {
  return { log: 'a log', number, hash: String(number).padStart(64, '0'), unsettled: [] }
}

function add(index: IdIndex, number: number, ids: readonly Buffer[], storedAt = number * 1000): void {
  index.add(Buffer.concat(ids), { from: number, through: number, storedAt }, positionOf(number))
}

/** Adds records of 100 ids each, and awaits `ready` after each. */
async function addMany(
  index: IdIndex,
  from: number,
  count: number,
  hourOf = (_: number) => 0,
): Promise<void> {
  for (const n of range(count)) {
    const ids = range(100).map(i => idOf((from + n) * 100 + i))
    add(index, from + n, ids, hourOf(from + n) * HOUR_MS)
    await index.ready()
  }
}

function hasAll(index: IdIndex, number: number): boolean {
  return range(100).every(i => index.has(idOf(number * 100 + i)))
}

function collectWarnings(): { log: Logger; warnings: string[] } {
  const warnings: string[] = []
  const warn = (_: unknown, message: string) => warnings.push(message)
  return { log: Object.assign(Object.create(silent), { warn }) as Logger, warnings }
}

/** Adds, removes and looks up random ids in an index, and does the same with a set. */
class Model {
  readonly known = new Set<string>()
  readonly records: Buffer[][] = []
  readonly #random: Random
  readonly #kind: (n: number) => Buffer
  readonly #idsMax: number
  #next = 0

  /** @param idsMax most ids of one addition */
  constructor(random: Random, kind: (n: number) => Buffer, idsMax = 200) {
    this.#random = random
    this.#kind = kind
    this.#idsMax = idsMax
  }

  addSome(index: IdIndex): void {
    const ids = range(this.#random(this.#idsMax)).map(() => this.#anyId())
    for (const id of ids) this.known.add(id.toString('hex'))
    add(index, this.records.length, ids)
    this.records.push(ids)
  }

  async removeSome(index: IdIndex): Promise<void> {
    const ids = range(1 + this.#random(20)).map(() => this.#anyId())
    for (const id of ids) this.known.delete(id.toString('hex'))
    await index.remove(Buffer.concat(ids))
  }

  /** Whether the index and the set agree on `count` random ids. */
  agrees(index: IdIndex, count = 200): boolean {
    const ids = Buffer.concat(range(count).map(() => this.#kind(this.#random(this.#next + 200))))
    return range(count).every(n => {
      const at = n * ID_BYTES
      return index.has(ids, at) === this.known.has(ids.toString('hex', at, at + ID_BYTES))
    })
  }

  /** A new id in three of four calls, else an earlier one. */
  #anyId(): Buffer {
    return this.#kind(this.#random(4) === 0 ? this.#random(this.#next + 1) : this.#next++)
  }
}

for (const [kind, idOfKind] of Object.entries(KINDS)) {
  test(`an index has the same ids as a set: ${kind}`, async t => {
    const random = createRandom(7)
    const path = temporaryDirectory(t)
    let index = await open(t, path)
    const model = new Model(random, idOfKind)
    for (const round of range(120)) {
      for (const _ of range(random(3))) model.addSome(index)
      if (random(12) === 0) await model.removeSome(index)
      if (random(3) === 0) await index.ready()
      if (random(20) === 0) {
        await index.close()
        index = await open(t, path)
        t.same(index.position?.number, model.records.length - 1 < 0 ? undefined : model.records.length - 1)
      }
      if (!model.agrees(index)) t.fail(`in round ${round}`)
    }
    t.ok(model.agrees(index, 5_000))
    t.equal(index.remembersFrom, 0)
  })
}

test('an index has the same ids as a set: bulk additions', async t => {
  const random = createRandom(13)
  const path = temporaryDirectory(t)
  // Tables of 1,000 ids: an addition of 2,000 or more is written as runs directly, of at most 4,000 ids.
  const idsMax = 128_000
  let index = await open(t, path, { idsMax })
  const model = new Model(random, idOf, 6_000)
  for (const round of range(40)) {
    if (random(4) === 0) index.expect(random(40_000))
    if (random(3) === 0) add(index, model.records.push([]) - 1, [])
    model.addSome(index)
    const isReady = random(3) > 0 ? index.ready() : undefined
    for (const _ of range(random(12))) await nextTurn()
    // Looks up, or removes, ids while they are being written.
    if (random(3) === 0 && !model.agrees(index)) t.fail(`during round ${round}`)
    if (random(8) === 0) await model.removeSome(index)
    await isReady
    if (random(8) === 0) {
      await index.close()
      index = await open(t, path, { idsMax })
      t.same(index.position?.number, model.records.length - 1)
    }
    if (!model.agrees(index)) t.fail(`in round ${round}`)
  }
  t.ok(model.agrees(index, 20_000))
  t.equal(index.remembersFrom, 0)
})

test('the filter is rebuilt when ids are added and when old ones are dropped', async t => {
  const path = temporaryDirectory(t)
  const idsMax = 100_000
  const index = await open(t, path, { idsMax })
  const sample = (from: number) => range(10).map(i => idOf(from + i * 100))
  const expected = 40_000
  index.expect(expected)
  for (const n of range(200)) {
    const from = n * 1_000
    add(
      index,
      n,
      range(1_000).map(i => idOf(from + i)),
    )
    await index.ready()
    const isKnown = range(n + 1).every(
      m => m < index.remembersFrom || sample(m * 1_000).every(id => index.has(id)),
    )
    if (!isKnown) t.fail(`an id is not found after ${n} additions`)
  }
  t.notOk(range(10_000).some(n => index.has(idOf(1_000_000 + n))))
  t.ok(index.remembersFrom > 80 && index.remembersFrom < 130, `from ${index.remembersFrom}`)
})

test('an index without ids, with one id, and with a record that has no ids', async t => {
  const path = temporaryDirectory(t)
  let index = await open(t, path)
  t.match({ position: index.position, remembersFrom: index.remembersFrom, size: index.size }, { size: 0 })
  t.equal(index.position, undefined)
  t.notOk(index.has(idOf(1)))
  await index.ready()
  await index.close()
  index = await open(t, path)
  add(index, 5, [idOf(1)])
  t.ok(index.has(idOf(1)))
  await index.close()
  index = await open(t, path)
  t.ok(index.has(idOf(1)))
  t.notOk(index.has(idOf(2)))
  t.equal(index.size, 1)
  add(index, 6, [])
  await index.close()
  index = await open(t, path)
  t.same(index.position, positionOf(6), 'a record without ids moves the position')
})

/** Returns the CPU time of the longest turn of the event loop until the work ends, in microseconds. */
async function longestTurn(work: Promise<void>): Promise<number> {
  let longest = 0
  let isDone = false
  const done = work.finally(() => {
    isDone = true
  })
  while (!isDone) {
    const before = process.cpuUsage()
    await nextTurn()
    longest = Math.max(longest, process.cpuUsage(before).user)
  }
  await done
  return longest
}

test('a bulk addition is found at once, and does not block the event loop', async t => {
  const path = temporaryDirectory(t)
  let index = await open(t, path, { idsMax: 200_000_000 })
  const count = 1_000_000
  const ids = Buffer.alloc(count * ID_BYTES)
  for (const n of range(count)) ids.writeUInt32LE(n + 1, n * ID_BYTES)
  const addAll = (number: number) => {
    index.add(Buffer.from(ids), { from: number, through: number, storedAt: 0 }, positionOf(number))
  }
  const sample = range(count / 50).map(n => n * 50)
  const knowsSample = () => sample.every(n => index.has(ids, n * ID_BYTES))
  addAll(0)
  t.ok(knowsSample())
  addAll(1)
  const longest = await longestTurn(index.ready())
  t.ok(longest < 150_000, `the longest turn took ${longest / 1000} ms`)
  await index.close()
  index = await open(t, path, { idsMax: 200_000_000 })
  t.same(index.position, positionOf(1))
  t.ok(knowsSample())
  t.notOk(range(10_000).some(n => index.has(idOf(n))))
})

test('a look-up sees that the caller has overwritten the buffer of ids', async t => {
  const index = await open(t, temporaryDirectory(t))
  const ids = range(200).map(idOf)
  add(index, 0, ids)
  const buffer = Buffer.concat(range(200).map(n => idOf(1_000 + n)))
  const asked = range(200).map(n => {
    const isKnown = index.has(buffer, n * ID_BYTES)
    const next = (n + 1) * ID_BYTES
    if (n % 2 === 0 && n < 199) (ids[n + 1] as Buffer).copy(buffer, next)
    return isKnown
  })
  t.same(
    asked,
    range(200).map(n => n % 2 === 1),
  )
})

test('a start finds all ids if the saved filter is missing, damaged or old', async t => {
  const path = temporaryDirectory(t)
  const filter = join(path, '0', 'filter')
  let index = await open(t, path)
  await addMany(index, 0, 60)
  await index.close()
  const bytes = readFileSync(filter)
  const damages: Record<string, () => void> = {
    whole: () => {},
    missing: () => rmSync(filter),
    overwritten: () => writeFileSync(filter, Buffer.from(bytes).fill(0, 0, Math.floor(bytes.length / 2))),
    cut: () => truncateSync(filter, bytes.length - 20),
    old: () => writeFileSync(filter, bytes),
    empty: () => writeFileSync(filter, ''),
  }
  let number = 60
  for (const [what, damage] of Object.entries(damages)) {
    damage()
    index = await open(t, path)
    t.ok(
      range(number).every(n => hasAll(index, n)),
      what,
    )
    t.notOk(range(1_000).some(n => index.has(idOf(1_000_000 + n))))
    await addMany(index, number, 10)
    number += 10
    await index.close()
  }
})

test('two processes of one directory have an index each', async t => {
  const path = temporaryDirectory(t)
  const [first, second] = [await open(t, path), await open(t, path)]
  add(first, 0, [idOf(1)])
  t.notOk(second.has(idOf(1)))
})

test('ids are remembered for the dedupe window, and dropped soon after', async t => {
  const path = temporaryDirectory(t)
  let index = await open(t, path, { idsMax: 10_000_000 })
  await addMany(index, 0, 120, n => n / 2)
  await index.close()
  index = await open(t, path, { idsMax: 10_000_000 })
  t.ok(
    range(120)
      .slice(-49)
      .every(n => hasAll(index, n)),
    'the window has 48 records',
  )
  t.ok(range(120).every(n => n < index.remembersFrom || hasAll(index, n)))
  t.ok(index.remembersFrom > 120 - 48 - 14, `from ${index.remembersFrom}`)
  t.notOk(hasAll(index, 0))
})

test('if the clock jumps ahead and back, the index forgets only ids before remembersFrom', async t => {
  const path = temporaryDirectory(t)
  const index = await open(t, path, { idsMax: 10_000_000 })
  await addMany(index, 0, 20)
  add(index, 20, [idOf(2_000)], 400 * 24 * HOUR_MS)
  t.ok(
    range(20).every(n => hasAll(index, n)),
    'no id is forgotten in the same turn',
  )
  await addMany(index, 21, 60)
  t.ok(range(60).every(n => n + 21 < index.remembersFrom || hasAll(index, n + 21)))
  t.ok(index.remembersFrom <= 20, 'later ids are remembered')
})

test('past DEDUPE_IDS_MAX only the oldest ids are forgotten', async t => {
  const path = temporaryDirectory(t)
  const { log, warnings } = collectWarnings()
  const index = await open(t, path, { idsMax: 4_000, log })
  await addMany(index, 0, 100)
  t.ok(index.size <= 4_000)
  t.ok(
    range(100)
      .slice(-35)
      .every(n => hasAll(index, n)),
    'the last 3,500 are found',
  )
  t.ok(range(100).every(n => n < index.remembersFrom || hasAll(index, n)))
  t.ok(index.remembersFrom <= 65)
  t.match(warnings[0], /DEDUPE_IDS_MAX/)
})

test('a reset removes all ids and the position, also on disk', async t => {
  const path = temporaryDirectory(t)
  let index = await open(t, path)
  await addMany(index, 0, 30)
  add(index, 30, [idOf(3_000)])
  await index.reset(40)
  const check = () => {
    t.notOk(range(31).some(n => index.has(idOf(n * 100))))
    t.match({ remembersFrom: index.remembersFrom, size: index.size }, { remembersFrom: 40, size: 0 })
    t.equal(index.position, undefined)
  }
  check()
  await index.close()
  index = await open(t, path)
  check()
  add(index, 40, [idOf(1)])
  t.ok(index.has(idOf(1)))
})

/** Changes an index as a power loss may: files that the state does not name were not synced, and lose their content. */
function losePower(path: string, random: Random): void {
  const own = join(path, '0')
  const state = readdirSync(own).includes('state') ? readFileSync(join(own, 'state'), 'utf8') : ''
  const { partitions = [], tail = null } = state === '' ? {} : JSON.parse(state.slice(8))
  const named = [...partitions, ...(tail === null ? [] : [tail])].flatMap(({ runs }) => runs)
  for (const name of readdirSync(own)) {
    const file = join(own, name)
    if (name === 'state' || named.includes(Number(name.replace('run-', '')))) continue
    const what = random(3)
    if (what === 0 || name.startsWith('lock')) rmSync(file, { recursive: true })
    else if (what === 1) truncateSync(file, random(statSync(file).size + 1))
    else writeFileSync(file, Buffer.alloc(statSync(file).size, random(256)))
  }
}

for (const [what, idsOf] of [
  ['small additions', (_: number) => 100],
  ['small and bulk additions', (n: number) => (n % 3 === 1 ? 700 : 100)],
] as const)
  test(`after a crash the ids and the position match: ${what}`, t => crashes(t, idsOf))

/** @param idsOf how many ids each record has */
async function crashes(t: Test, idsOf: (number: number) => number): Promise<void> {
  const idsIn = (number: number) => range(idsOf(number)).map(i => idOf(number * 1_000 + i))
  const knows = (index: IdIndex, number: number) => idsIn(number).every(id => index.has(id))
  const random = createRandom(11)
  const path = temporaryDirectory(t)
  const crashed = join(temporaryDirectory(t), 'crashed')
  const { log, warnings } = collectWarnings()
  const index = await open(t, path)
  const positions = new Set<number | undefined>()
  const crash = async () => {
    rmSync(crashed, { recursive: true, force: true })
    cpSync(path, crashed, { recursive: true, filter: from => !/lock-\d/.test(from) })
    losePower(crashed, random)
    const left = await openIdIndex(crashed, { dedupeWindowMs: WINDOW_MS, dedupeIdsMax: SMALL }, log)
    const last = left.position?.number
    positions.add(last)
    const isWhole = range((last ?? -1) + 1).every(n => n < left.remembersFrom || knows(left, n))
    if (!isWhole) t.fail(`an id of a record up to ${last} is not found`)
    if (range(500).some(n => left.has(idOf(1_000_000 + n)))) t.fail('the index has an id that was not added')
    await left.close()
  }
  for (const number of range(60)) {
    add(index, number, idsIn(number), 0)
    const isReady = random(2) === 0 || number > 50 ? index.ready() : undefined
    for (const _ of range(random(4))) await nextTurn()
    if (random(2) === 0) await isReady
    await crash()
    await isReady
  }
  t.ok(positions.size > 10, `${positions.size} different positions were restored`)
  t.same(warnings, [], 'no index was damaged')
}

function largestRun(path: string): string {
  const own = join(path, '0')
  const runs = readdirSync(own).filter(name => name.startsWith('run-'))
  const bySize = runs.toSorted((a, b) => statSync(join(own, a)).size - statSync(join(own, b)).size)
  return join(own, bySize.at(-1) as string)
}

test('an index with a damaged or missing file is rebuilt', async t => {
  const damages: Record<string, (path: string) => void> = {
    'a run is cut': path => truncateSync(largestRun(path), statSync(largestRun(path)).size - 1),
    'a run is missing': path => rmSync(largestRun(path)),
    'the state is invalid': path => writeFileSync(join(path, '0', 'state'), '{"version":1}'),
    'the bucket index of a run is damaged': path => {
      const bytes = readFileSync(largestRun(path))
      bytes[bytes.length - 40] = (bytes[bytes.length - 40] as number) ^ 1
      writeFileSync(largestRun(path), bytes)
    },
  }
  for (const [what, damage] of Object.entries(damages)) {
    const path = temporaryDirectory(t)
    const index = await open(t, path)
    await addMany(index, 0, 30)
    await index.close()
    damage(path)
    const { log, warnings } = collectWarnings()
    const again = await open(t, path, { log })
    t.match(
      { position: again.position, size: again.size, warnings },
      { size: 0, warnings: [/rebuilt/] },
      what,
    )
    await addMany(again, 0, 30)
    t.ok(hasAll(again, 29), what)
  }
})

for (const hasFilter of [true, false]) {
  const when = hasFilter ? 'at a look-up' : 'at a start'
  test(`damaged ids of a run are forgotten, and remembersFrom says so, ${when}`, t => forgets(t, hasFilter))
}

async function forgets(t: Test, hasFilter: boolean): Promise<void> {
  const path = temporaryDirectory(t)
  const { log, warnings } = collectWarnings()
  let index = await open(t, path)
  await addMany(index, 0, 70)
  await index.close()
  const run = largestRun(path)
  const bytes = readFileSync(run)
  bytes.fill(0, 0, 16 * 100)
  writeFileSync(run, bytes)
  if (!hasFilter) rmSync(join(path, '0', 'filter'))
  index = await open(t, path, { log })
  t.ok(range(70).every(n => hasAll(index, n) || n < index.remembersFrom))
  t.ok(range(70).every(n => n < index.remembersFrom || hasAll(index, n)))
  t.match(warnings, [/damaged/])
  t.not(index.remembersFrom, 0)
  add(index, 70, [idOf(9_999_999)])
  t.ok(index.has(idOf(9_999_999)))
  await index.close()
}

test('ids of whole runs that the saved filter lacks are found, even if another such run is damaged', async t => {
  const path = temporaryDirectory(t)
  const filter = join(path, '0', 'filter')
  let index = await open(t, path)
  await addMany(index, 0, 80)
  await index.close()
  const before = readFileSync(filter)
  index = await open(t, path)
  await addMany(index, 80, 30)
  await index.close()
  writeFileSync(filter, before)
  const { partitions } = JSON.parse(readFileSync(join(path, '0', 'state'), 'utf8').slice(8))
  const run = join(path, '0', `run-${partitions.at(-2).runs[0]}`)
  writeFileSync(run, readFileSync(run).fill(0, 0, 100 * ID_BYTES))
  const { log, warnings } = collectWarnings()
  index = await open(t, path, { log })
  t.match(warnings, [/damaged/])
  t.ok(index.remembersFrom < 105, `from ${index.remembersFrom}`)
  t.ok(range(110).every(n => n < index.remembersFrom || hasAll(index, n)))
})

/** A disk of 4 MiB, if one can be mounted here. If not, a directory that is moved away stands for a full disk. */
function smallDisk(t: Test): { path: string; fill: () => void; empty: () => void; error: RegExp } {
  const path = join(temporaryDirectory(t), 'disk')
  mkdirSync(path)
  const index = join(path, 'index')
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'frequency-test', path], { stdio: 'ignore' })
  } catch {
    t.comment('no disk can be mounted here: the directory is moved away, and ENOSPC is not tested')
    const own = join(index, '0')
    const fill = () => renameSync(own, `${own}-away`)
    return { path: index, fill, empty: () => renameSync(`${own}-away`, own), error: /ENOENT/ }
  }
  t.teardown(() => execFileSync('umount', [path]))
  const ballast = join(path, 'ballast')
  const fill = () => {
    try {
      writeFileSync(ballast, Buffer.alloc(4 * 1024 * 1024))
    } catch {
      return
    }
    throw new Error('the disk is not full')
  }
  return { path: index, fill, empty: () => rmSync(ballast), error: /ENOSPC/ }
}

test('while the disk is full no id is lost, and the write is tried again', async t => {
  const disk = smallDisk(t)
  let index = await open(t, disk.path)
  await addMany(index, 0, 20)
  disk.fill()
  let number = 20
  const addUntilRefused = async () => {
    while (number < 100) {
      add(
        index,
        number,
        range(100).map(i => idOf(number * 100 + i)),
      )
      number++
      await index.ready()
    }
  }
  await t.rejects(addUntilRefused(), disk.error)
  t.ok(number < 30, `the ids in memory are bounded: ${number}`)
  await t.rejects(index.ready(), disk.error, 'again')
  t.ok(
    range(number).every(n => hasAll(index, n)),
    'all ids are found',
  )
  t.notOk(index.has(idOf(999_999)))
  disk.empty()
  await index.ready()
  await addMany(index, number, 20)
  await index.close()
  index = await open(t, disk.path)
  t.equal(index.position?.number, number + 19)
  t.ok(range(number + 20).every(n => hasAll(index, n)))
  await index.close()
})

test('close rejects if the disk is full, and the earlier state stays', async t => {
  const disk = smallDisk(t)
  let index = await open(t, disk.path)
  await addMany(index, 0, 20)
  await index.close()
  index = await open(t, disk.path)
  disk.fill()
  add(index, 20, [idOf(2_000)])
  await t.rejects(index.close(), disk.error)
  disk.empty()
  index = await open(t, disk.path)
  t.equal(index.position?.number, 19)
  t.ok(range(20).every(n => hasAll(index, n)))
  await index.close()
})

test('a table that is not full reaches the disk after some seconds', async t => {
  const path = temporaryDirectory(t)
  const index = await open(t, path)
  add(index, 0, [idOf(1)])
  const isWritten = () => readdirSync(join(path, '0')).includes('state')
  const written = async () => {
    while (!isWritten()) await new Promise(resolve => setTimeout(resolve, 100))
  }
  t.ok((await elapsed(written())) < 60_000)
})
