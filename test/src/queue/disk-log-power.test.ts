/** A log on disk survives power cuts: writes that were not synced are lost in any order. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Test, test } from 'tap'
import type { DiskLog, LogEntry } from '../../../src/queue/embedded/disk-log.ts'
import { bodyOf, copyOf, numberIn, openLog, readEvents } from '../../helpers/disk-log-helper.ts'
import { createRandom, type Random, range, temporaryDirectory } from '../../helpers/helper.ts'
import { PowerLossDisk } from '../../helpers/power-loss.ts'

const SEEDS = 60
const RUNS = 4
const STEPS_MAX = 120
const SEGMENT_BYTES = 6 * 1024

/** Expected state of events, by number. */
class Model {
  appended = new Set<number>()
  confirmed = new Set<number>()
  /** Events up to this one may be dropped. */
  dropped = -1
  /** Events that `addDead` was called for. */
  dead = new Set<number>()
  /** Events whose `addDead` has resolved. */
  deadConfirmed = new Set<number>()

  copy(): Model {
    const copy = new Model()
    for (const name of ['appended', 'confirmed', 'dead', 'deadConfirmed'] as const)
      copy[name] = new Set(this[name])
    copy.dropped = this.dropped
    return copy
  }
}

/**
 * Appends, reads, drops and dead-letters at random, until the power fails.
 *
 * @returns the directory with the bytes that were left, and the model at that moment
 */
async function runUntilPowerCut(
  t: Test,
  path: string,
  model: Model,
  random: Random,
): Promise<{ path: string; model: Model }> {
  const disk = new PowerLossDisk(path, random)
  const left: { path: string; model: Model }[] = []
  let steps = random(STEPS_MAX)
  disk.step = () => {
    if (steps-- > 0 || left.length > 0) return
    left.push({ path: temporaryDirectory(t), model: model.copy() })
    disk.loseTo(left[0]?.path as string)
  }
  const log = await openLog(t, path, { segmentBytes: SEGMENT_BYTES, files: disk })
  // A dead letter that was not on disk at the power cut is an event again, and may be dropped like any other.
  model.dead = new Set([...log.readDead()].map(numberIn))
  let entries: LogEntry[] = []
  const all: Promise<unknown>[] = []
  for (let round = 0; left.length === 0 && round < STEPS_MAX; round++) {
    for (const _ of range(random(5))) all.push(append(log, model, random))
    for (const entry of log.read(entries.at(-1)?.key ?? log.dropped)) entries.push(entry)
    if (random(4) === 0 && entries.length > 0) all.push(addDead(log, model, entries, random))
    if (random(6) === 0 && entries.length > 0) {
      const count = 1 + random(entries.length)
      all.push(drop(log, model, entries.slice(0, count)))
      entries = entries.slice(count)
    }
    if (random(2) === 0) await all.at(-1)
    else await nextTurn()
  }
  await Promise.all(all)
  await log.close()
  steps = 0
  disk.step()
  return left[0] as { path: string; model: Model }
}

async function append(log: DiskLog, model: Model, random: Random): Promise<void> {
  const n = model.appended.size
  model.appended.add(n)
  await log.append(bodyOf(n, 20 + random(2) * random(3_000)), 1)
  model.confirmed.add(n)
}

async function addDead(log: DiskLog, model: Model, entries: LogEntry[], random: Random): Promise<void> {
  const entry = entries[random(entries.length)] as LogEntry
  const n = numberIn(entry)
  if (model.dead.has(n)) return
  model.dead.add(n)
  await log.addDead(entry.key, entry.value)
  model.deadConfirmed.add(n)
}

async function drop(log: DiskLog, model: Model, entries: readonly LogEntry[]): Promise<void> {
  const last = entries.at(-1) as LogEntry
  model.dropped = Math.max(model.dropped, numberIn(last))
  await log.dropThrough(last.key, entries.filter(each => !model.dead.has(numberIn(each))).length)
}

async function problems(t: Test, path: string, model: Model): Promise<unknown[]> {
  const log = await openLog(t, copyOf(t, path))
  const numbers = (await readEvents(log, log.events)).map(numberIn)
  const dead = [...log.readDead()].map(numberIn)
  await log.close()
  const present = new Set([...numbers, ...dead])
  const lost = [...model.confirmed].filter(n => n > model.dropped && !present.has(n))
  const deadLost = [...model.deadConfirmed].filter(n => !dead.includes(n))
  // An event that was dropped while its `addDead` was pending is an event or a dead letter.
  const unaccounted = [...model.dead].filter(n => !present.has(n))
  const isInOrder = numbers.every((n, i) => i === 0 || n > (numbers[i - 1] as number))
  const unknown = numbers.filter(n => !model.appended.has(n))
  const twice = numbers.filter(n => model.deadConfirmed.has(n))
  const disorder = isInOrder ? [] : numbers
  const found = { lost, deadLost, unaccounted, unknown, twice, damages: log.damages, disorder }
  const isRight = Object.values(found).every(each => each.length === 0)
  return isRight ? [] : [found]
}

test('confirmed events survive a power cut, and no power cut looks like damage', async t => {
  const wrong: unknown[] = []
  let confirmed = 0
  for (const seed of range(SEEDS)) {
    const random = createRandom(seed)
    let left = { path: temporaryDirectory(t), model: new Model() }
    for (const run of range(RUNS)) {
      left = await runUntilPowerCut(t, left.path, left.model, random)
      const found = await problems(t, left.path, left.model)
      if (found.length > 0) wrong.push({ seed, run, found })
    }
    confirmed += left.model.confirmed.size
  }
  t.same(wrong, [], `${SEEDS * RUNS} power cuts, ${confirmed} confirmed`)
  t.ok(confirmed > SEEDS * RUNS * 5, `${confirmed} confirmed`)
})
