/**
 * Replaces a record that is damaged or missing. The new record names the objects that no other record names.
 *
 *   list objects ──► read the log ──► move bytes that can be saved to their keys ──► read the unnamed objects ──► write
 *
 * The new record so names each batch of the old one that became an object. The events of its other batches were not
 * acknowledged: they are still in the queue, and are archived again. What the old record said of objects of earlier
 * records is said again, as far as it is proven (lost-changes.ts).
 */

import { randomUUID } from 'node:crypto'
import { LogRefused } from '../../errors.ts'
import { describeObject } from '../../log/describe-object.ts'
import { LaterChanges } from '../../log/later-changes.ts'
import { type LogKeys, logKeys } from '../../log/log-keys.ts'
import { LogReader } from '../../log/log-reader.ts'
import { type BatchDraft, encodeRecord, NOT_AN_ARCHIVER, unverifiedChanges } from '../../log/log-record.ts'
import { type LogStep, walkLog } from '../../log/log-walk.ts'
import type { FoldedRecord } from '../../log/manifest.ts'
import { isObjectKey } from '../../object/object-key.ts'
import type { ObjectStore } from '../../store/store.ts'
import { KeyMatch } from '../verify/key-match.ts'
import { textsAt } from '../verify/log-check.ts'
import { ScratchFile } from '../verify/scratch-file.ts'
import { TextList } from '../verify/text-list.ts'
import type { ObjectProblems } from '../verify/verifier.ts'
import { type LostChanges, lostChanges } from './lost-changes.ts'
import { type Salvage, salvage, settleSalvage } from './salvage.ts'

/** Most events of the new record: their ids have to fit into its head. */
const EVENTS_MAX = 12_000_000
/** Keys of each kind that are listed. All are counted. */
const LIST_MAX = 20

export interface RepairPlan {
  /** The number of the record. */
  readonly number: number
  /** What is wrong with the record, as a sentence. */
  readonly problem: string
  /** Whether the record is missing. */
  readonly isGone: boolean
  /** Bytes in the record, or staged, that are moved to their keys first. */
  readonly salvage: readonly Salvage[]
  /** The objects that the new record names. The objects of `salvage` are added when their bytes are moved. */
  readonly batches: readonly BatchDraft[]
  /** Events in `batches`. */
  readonly events: number
  /** Objects that no record names, but that are damaged, so that they cannot be named. */
  readonly damaged: readonly ObjectProblems[]
  /** What the record has said of objects of earlier records. */
  readonly lost: LostChanges
  /** The id of the log. */
  readonly log: string
  /** The hash of the record before. */
  readonly previous: string
  /** The hash by which the next record names this one, if it is known. */
  readonly standsFor: string | undefined
}

/** What the rest of the log says about the record. */
interface LogContext {
  /** The id of the log. */
  log: string | undefined
  /** What is wrong with the record. */
  problem: string | undefined
  /** The last folded record. */
  watermark: number
  /** The last record. */
  position: number
  /** The hash of the record before. */
  previous: string | undefined
  /** The hash by which the next record names this one. */
  next: string | undefined
  /** Batches of the record that later records declare void, by their place in it. */
  readonly voids: Set<number>
  /** Of all other records. */
  readonly changes: LaterChanges
  /** Keys of objects that later records have rewritten. */
  readonly rewrittenLater: Set<string>
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
   * Finds out what the repair has to do. Changes nothing.
   *
   * @throws LogRefused if the record needs no repair, or cannot be repaired; StoreUnavailable
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
   * Moves the bytes of `planned.salvage` to their keys, plans again, and writes the record.
   *
   * @returns the second plan: what was written
   * @throws LogRefused if the record was written meanwhile, or can no longer be repaired; StoreUnavailable
   */
  async run(planned: RepairPlan): Promise<RepairPlan> {
    for (const each of planned.salvage) await settleSalvage(this.#store, each)
    const plan = await this.plan()
    const { bytes, record } = encodeRecord(recordOf(plan))
    const key = this.#keys.record(plan.number)
    if (!plan.isGone) await this.#store.replace(key, bytes)
    else if ((await this.#store.create(key, bytes)).outcome === 'exists') {
      // A create that the store client has retried finds its own record.
      const found = (await this.#reader.record(plan.number)).record
      if (found?.nonce !== record.nonce)
        throw new LogRefused(
          `Record ${plan.number} was written by another program meanwhile. Run this again.`,
        )
    }
    return plan
  }

  async #plan(scratch: ScratchFile): Promise<RepairPlan> {
    const number = this.#number
    const match = new KeyMatch(scratch)
    const objects = new TextList(scratch)
    for await (const key of this.#store.list(`${this.#prefix}/dt=`))
      if (isObjectKey(key)) match.addListed(objects.add(key), key)
    const context = await this.#readContext(match)
    const problem = problemOf(number, context)
    const { object } = await this.#store.read(this.#keys.record(number))
    const isVoid = (batch: number) => context.voids.has(batch)
    const saved = object && (await salvage(this.#store, this.#prefix, object.body, isVoid))
    const { batches, damaged, events } = await this.#describeAll(
      number === 0 ? [] : textsAt(objects, match.match().unknown, Number.POSITIVE_INFINITY),
    )
    const lost = await lostChanges(
      {
        store: this.#store,
        prefix: this.#prefix,
        others: { ...context, folded: () => this.#folded() },
        listMax: LIST_MAX,
      },
      object && unverifiedChanges(object.body),
    )
    return {
      number,
      problem,
      isGone: object === undefined,
      salvage: saved?.bodies ?? [],
      batches,
      events,
      damaged,
      lost,
      log: logOf(this.#keys, context),
      previous: previousOf(number, context),
      standsFor: context.next ?? saved?.hash,
    }
  }

  /** Reads the log, and adds the objects that it names to `match`. */
  async #readContext(match: KeyMatch): Promise<LogContext> {
    const context: LogContext = {
      log: undefined,
      problem: undefined,
      watermark: 0,
      position: -1,
      previous: undefined,
      next: undefined,
      voids: new Set(),
      changes: new LaterChanges(),
      rewrittenLater: new Set(),
    }
    let place = 0
    for await (const step of walkLog({ store: this.#store, reader: this.#reader, keys: this.#keys })) {
      this.#note(step, context)
      if (step.kind !== 'record' && step.kind !== 'folded') continue
      for (const batch of step.record.batches) match.addNamed(place++, batch.key, batch)
    }
    return context
  }

  async *#folded(): AsyncIterable<FoldedRecord> {
    for await (const step of walkLog({ store: this.#store, reader: this.#reader, keys: this.#keys }))
      if (step.kind === 'folded') yield step.record
  }

  #note(step: LogStep, context: LogContext): void {
    const number = this.#number
    if (step.kind === 'manifest') {
      const { log, through, hash } = step.manifest
      context.log ??= log
      context.watermark = through
      context.position = through
      if (through === number - 1) context.previous = hash
    } else if (step.kind === 'damaged') {
      context.position = step.number
      if (step.number === number) context.problem = step.message
    } else {
      const { record } = step
      context.position = record.number
      if (record.number === number - 1) context.previous = record.hash
      context.changes.add(record, record.number)
      if (record.number > number) for (const { key } of record.rewrites ?? []) context.rewrittenLater.add(key)
      if (step.kind === 'folded') return
      context.log ??= step.record.log
      if (record.number === number + 1) context.next = step.record.previous
      for (const each of step.record.voids) if (each.number === number) context.voids.add(each.batch)
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
          `The objects that no record names have more than ${EVENTS_MAX} events: too many for one record. Run "frequency verify" to list these objects.`,
        )
    }
    return { batches, damaged, events }
  }
}

function problemOf(number: number, { problem, watermark, position }: LogContext): string {
  if (problem !== undefined) return problem
  if (number <= watermark && number > 0)
    throw new LogRefused(
      `Record ${number} is folded (the watermark is ${watermark}): it is not needed any more.`,
    )
  if (position === -1)
    throw new LogRefused('The archive has no log. If it has objects, run: frequency log build')
  if (number > position)
    throw new LogRefused(`The log ends at record ${position}, and nothing is missing there.`)
  throw new LogRefused(`Record ${number} can be read: there is nothing to repair.`)
}

function logOf(keys: LogKeys, { log }: LogContext): string {
  if (log !== undefined) return log
  throw new LogRefused(
    `The id of the log is not known: no other record and no manifest can be read. Delete all objects below ${keys.records}, and run: frequency log build`,
  )
}

function previousOf(number: number, { previous }: LogContext): string {
  if (number === 0) return ''
  if (previous !== undefined) return previous
  throw new LogRefused(`Record ${number - 1} cannot be used either: repair it first.`)
}

function recordOf({ log, number, previous, standsFor, batches, lost }: RepairPlan) {
  const { rewrites, expiredBefore } = lost
  const nonce = number === 0 ? log : randomUUID()
  return {
    log,
    number,
    previous,
    nonce,
    writer: randomUUID(),
    ...NOT_AN_ARCHIVER,
    batches,
    ...(rewrites.length > 0 && { rewrites: [...rewrites] }),
    ...(expiredBefore !== undefined && { expiredBefore }),
    ...(standsFor !== undefined && { standsFor }),
  }
}
