/**
 * Makes a record anew that is damaged or gone, from the objects that no other record names.
 *
 *   list objects ──► read the log ──► bring bytes that can be saved to their keys ──► read what no record names ──► write
 *
 * What the record named and what became an object is found so. What it named and what is no object, and cannot be made
 * one, was not acknowledged: it is on the queue, and is archived again.
 */

import { randomUUID } from 'node:crypto'
import { LogRefused } from '../../errors.ts'
import { describeObject } from '../../log/describe-object.ts'
import { type LogKeys, logKeys } from '../../log/log-keys.ts'
import { LogReader } from '../../log/log-reader.ts'
import { type BatchDraft, encodeRecord, OF_NO_ARCHIVER } from '../../log/log-record.ts'
import { type LogStep, walkLog } from '../../log/log-walk.ts'
import { isObjectKey } from '../../object/object-key.ts'
import type { ObjectStore } from '../../store/store.ts'
import { KeyMatch } from '../verify/key-match.ts'
import { picked } from '../verify/log-check.ts'
import { ScratchFile } from '../verify/scratch-file.ts'
import { TextList } from '../verify/text-list.ts'
import type { ObjectProblems } from '../verify/verifier.ts'
import { type Salvage, salvage, settleSalvage } from './salvage.ts'

/** The head of one record names them all. */
const EVENTS_MAX = 12_000_000

export interface RepairPlan {
  readonly number: number
  /** What is wrong with the record. */
  readonly problem: string
  readonly isGone: boolean
  /** Bytes that are in the record, or staged, and are brought to their keys first. */
  readonly salvage: readonly Salvage[]
  /** What the new record names. More come where bytes can be saved. */
  readonly batches: readonly BatchDraft[]
  readonly events: number
  /** Objects that no record names, and that cannot be named. */
  readonly damaged: readonly ObjectProblems[]
  readonly log: string
  readonly previous: string
  readonly standsFor: string | undefined
}

/** What the log says besides the record. */
interface Surroundings {
  log: string | undefined
  problem: string | undefined
  watermark: number
  position: number
  previous: string | undefined
  next: string | undefined
  readonly voids: Set<number>
}

export class LogRepair {
  readonly #store: ObjectStore
  readonly #prefix: string
  readonly #number: number
  readonly #keys: LogKeys
  readonly #reader: LogReader

  /** @param number of the record */
  constructor(store: ObjectStore, prefix: string, number: number) {
    this.#store = store
    this.#prefix = prefix
    this.#number = number
    this.#keys = logKeys(prefix)
    this.#reader = new LogReader(store, this.#keys)
  }

  /**
   * Finds out what is to be done, and does nothing.
   *
   * @throws LogRefused where there is nothing to repair, or it cannot be repaired; StoreUnavailable
   */
  async plan(): Promise<RepairPlan> {
    const scratch = new ScratchFile()
    try {
      return await this.#plan(scratch)
    } finally {
      scratch.close()
    }
  }

  /**
   * Does it.
   *
   * @returns what was written: it is looked again after bytes were brought to their keys
   * @throws LogRefused where it has changed meanwhile; StoreUnavailable
   */
  async run(planned: RepairPlan): Promise<RepairPlan> {
    for (const each of planned.salvage) await settleSalvage(this.#store, each)
    const plan = await this.plan()
    const { bytes, record } = encodeRecord(recordOf(plan))
    const key = this.#keys.record(plan.number)
    if (!plan.isGone) await this.#store.replace(key, bytes)
    else if ((await this.#store.create(key, bytes)).outcome === 'exists') {
      // Its own creation may have been answered so.
      const found = (await this.#reader.record(plan.number)).record
      if (found?.nonce !== record.nonce)
        throw new LogRefused(`Somebody has written record ${plan.number} meanwhile: run this again.`)
    }
    return plan
  }

  async #plan(scratch: ScratchFile): Promise<RepairPlan> {
    const number = this.#number
    const match = new KeyMatch(scratch)
    const objects = new TextList(scratch)
    for await (const key of this.#store.list(`${this.#prefix}/dt=`))
      if (isObjectKey(key)) match.listed(objects.add(key), key)
    const around = await this.#readAround(match)
    const problem = problemOf(number, around)
    const { object } = await this.#store.read(this.#keys.record(number))
    const isVoid = (batch: number) => around.voids.has(batch)
    const saved = object && (await salvage(this.#store, this.#prefix, object.body, isVoid))
    const { batches, damaged, events } = await this.#describeAll(
      number === 0 ? [] : picked(objects, match.match().unknown, Number.POSITIVE_INFINITY),
    )
    return {
      number,
      problem,
      isGone: object === undefined,
      salvage: saved?.bodies ?? [],
      batches,
      events,
      damaged,
      log: logOf(number, this.#keys, around),
      previous: previousOf(number, around),
      standsFor: around.next ?? saved?.hash,
    }
  }

  async #readAround(match: KeyMatch): Promise<Surroundings> {
    const around: Surroundings = {
      log: undefined,
      problem: undefined,
      watermark: 0,
      position: -1,
      previous: undefined,
      next: undefined,
      voids: new Set(),
    }
    let place = 0
    for await (const step of walkLog({ store: this.#store, reader: this.#reader, keys: this.#keys })) {
      this.#note(step, around)
      if (step.kind !== 'record' && step.kind !== 'folded') continue
      for (const batch of step.record.batches) match.named(place++, batch.key, batch)
    }
    return around
  }

  #note(step: LogStep, around: Surroundings): void {
    const number = this.#number
    if (step.kind === 'manifest') {
      const { log, through, hash } = step.manifest
      around.log ??= log
      around.watermark = through
      around.position = through
      if (through === number - 1) around.previous = hash
    } else if (step.kind === 'damaged') {
      around.position = step.number
      if (step.number === number) around.problem = step.message
    } else {
      const { record } = step
      around.position = record.number
      if (record.number === number - 1) around.previous = record.hash
      if (step.kind === 'folded') return
      around.log ??= step.record.log
      if (record.number === number + 1) around.next = step.record.previous
      for (const each of step.record.voids) if (each.number === number) around.voids.add(each.batch)
    }
  }

  async #describeAll(keys: Iterable<string>) {
    const batches: BatchDraft[] = []
    const damaged: ObjectProblems[] = []
    let events = 0
    for (const key of keys) {
      const { batch, problems, isEmpty } = await describeObject(this.#store, key)
      if (isEmpty) continue
      if (batch === undefined) damaged.push({ key, problems })
      else batches.push(batch)
      events += batch?.events ?? 0
      if (events > EVENTS_MAX)
        throw new LogRefused(
          `More than ${EVENTS_MAX} events are in objects that no record names: no record takes so many. Look with "frequency verify" what they are.`,
        )
    }
    return { batches, damaged, events }
  }
}

function problemOf(number: number, { problem, watermark, position }: Surroundings): string {
  if (problem !== undefined) return problem
  if (number <= watermark && number > 0)
    throw new LogRefused(
      `Record ${number} is folded (the watermark is ${watermark}): nobody needs it any more.`,
    )
  if (position === -1)
    throw new LogRefused('The archive has no log. If it has objects, run: frequency log build')
  if (number > position)
    throw new LogRefused(`The log ends at record ${position}, and nothing is missing there.`)
  throw new LogRefused(`Record ${number} can be read: there is nothing to repair.`)
}

function logOf(number: number, keys: LogKeys, { log }: Surroundings): string {
  if (log !== undefined) return log
  throw new LogRefused(
    `Nothing says which log record ${number} was of. Delete what is below ${keys.records}, and run: frequency log build`,
  )
}

function previousOf(number: number, { previous }: Surroundings): string {
  if (number === 0) return ''
  if (previous !== undefined) return previous
  throw new LogRefused(`Record ${number - 1} cannot be used either: repair it first.`)
}

function recordOf({ log, number, previous, standsFor, batches }: RepairPlan) {
  const nonce = number === 0 ? log : randomUUID()
  return {
    log,
    number,
    previous,
    nonce,
    writer: randomUUID(),
    ...OF_NO_ARCHIVER,
    batches,
    ...(standsFor !== undefined && { standsFor }),
  }
}
