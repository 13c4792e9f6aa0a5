/** That a log on disk outlives a loss of power: what was not synced is lost in any order. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Test, test } from 'tap'
import type { DiskLog, LogEntry } from '../../../src/queue/embedded/disk-log.ts'
import { bodyOf, copyOf, numberIn, openLog, readEvents } from '../../helpers/disk-log-helper.ts'
import { createRandom, type Random, range, temporaryDirectory } from '../../helpers/helper.ts'
import { PowerLossDisk } from '../../helpers/power-loss.ts'

const SEEDS = 60
const LIVES = 4
const STEPS_MAX = 120
const SEGMENT_BYTES = 6 * 1024

/** What has become of events, by number. */
class Model {
  appended = new Set<number>()
  confirmed = new Set<number>()
  /** It may be gone: all up to here may have been dropped. */
  dropped = -1
  /** Was to be set aside, and has been. */
  aside = new Set<number>()
  asideConfirmed = new Set<number>()

  copy(): Model {
    const copy = new Model()
    for (const name of ['appended', 'confirmed', 'aside', 'asideConfirmed'] as const)
      copy[name] = new Set(this[name])
    copy.dropped = this.dropped
    return copy
  }
}

/** Appends, reads, drops and sets aside, until the power goes. @returns where what is left is, and the model then */
async function live(
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
  // What was not set aside when the power went comes again, and may then be dropped like any other.
  model.aside = new Set([...log.readDead()].map(numberIn))
  let entries: LogEntry[] = []
  const all: Promise<unknown>[] = []
  for (let round = 0; left.length === 0 && round < STEPS_MAX; round++) {
    for (const _ of range(random(5))) all.push(append(log, model, random))
    for (const entry of log.read(entries.at(-1)?.key ?? log.dropped)) entries.push(entry)
    if (random(4) === 0 && entries.length > 0) all.push(setAside(log, model, entries, random))
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

async function setAside(log: DiskLog, model: Model, entries: LogEntry[], random: Random): Promise<void> {
  const entry = entries[random(entries.length)] as LogEntry
  const n = numberIn(entry)
  if (model.aside.has(n)) return
  model.aside.add(n)
  await log.addDead(entry.key, entry.value)
  model.asideConfirmed.add(n)
}

async function drop(log: DiskLog, model: Model, entries: readonly LogEntry[]): Promise<void> {
  const last = entries.at(-1) as LogEntry
  model.dropped = Math.max(model.dropped, numberIn(last))
  await log.dropThrough(last.key, entries.filter(each => !model.aside.has(numberIn(each))).length)
}

async function problems(t: Test, path: string, model: Model): Promise<unknown[]> {
  const log = await openLog(t, copyOf(t, path))
  const numbers = (await readEvents(log, log.events)).map(numberIn)
  const dead = [...log.readDead()].map(numberIn)
  await log.close()
  const there = new Set([...numbers, ...dead])
  const lost = [...model.confirmed].filter(n => n > model.dropped && !there.has(n))
  const deadLost = [...model.asideConfirmed].filter(n => !dead.includes(n))
  // What was being set aside when it was dropped is in the one or in the other.
  const strayed = [...model.aside].filter(n => !there.has(n))
  const isInOrder = numbers.every((n, i) => i === 0 || n > (numbers[i - 1] as number))
  const strange = numbers.filter(n => !model.appended.has(n))
  const twice = numbers.filter(n => model.asideConfirmed.has(n))
  const disorder = isInOrder ? [] : numbers
  const found = { lost, deadLost, strayed, strange, twice, damages: log.damages, disorder }
  const isWell = Object.values(found).every(each => each.length === 0)
  return isWell ? [] : [found]
}

test('what was confirmed outlives a loss of power, and none is taken for damage', async t => {
  const wrong: unknown[] = []
  let confirmed = 0
  for (const seed of range(SEEDS)) {
    const random = createRandom(seed)
    let left = { path: temporaryDirectory(t), model: new Model() }
    for (const life of range(LIVES)) {
      left = await live(t, left.path, left.model, random)
      const found = await problems(t, left.path, left.model)
      if (found.length > 0) wrong.push({ seed, life, found })
    }
    confirmed += left.model.confirmed.size
  }
  t.same(wrong, [], `${SEEDS * LIVES} losses, ${confirmed} confirmed`)
  t.ok(confirmed > SEEDS * LIVES * 5, `${confirmed} confirmed`)
})
