/** Damages stored objects: at the next vulnerable moment after the planned time. */

import { logKeys } from '../../src/log/log-keys.ts'
import { decodeHead, inlineBody, isInline, type LogRecord } from '../../src/log/log-record.ts'
import { decodeManifest } from '../../src/log/manifest.ts'
import type { StoredObject } from '../services/s3-storage.ts'
import type { Chaos } from './chaos.ts'
import type { DamageAct } from './damage-plan.ts'
import type { Judge, Span } from './judge.ts'
import type { OperatorPlan, Operators } from './operators.ts'
import type { WriterPlan } from './plan.ts'
import type { Processes } from './processes.ts'
import type { FaultKind, Operation } from './request-fate.ts'
import type { SimulatedS3 } from './simulated-s3.ts'
import type { Actor, Simulation } from './simulation.ts'

export interface DamageParts {
  readonly sim: Simulation
  readonly chaos: Chaos
  readonly s3: SimulatedS3
  readonly judges: readonly Judge[]
  readonly processes: Processes
  readonly operators: Operators
  readonly director: Actor
  /** Counts a fault by its text. */
  saw(what: string): void
}

interface Armed<Act extends DamageAct = DamageAct> {
  readonly name: string
  readonly fault: Act
}

interface DamagedRecord {
  /** The damaged bytes. The record has other bytes after its repair. */
  readonly damaged: StoredObject
  /** The keys of its objects, without objects that were lost after its repair. */
  readonly named: Set<string>
}

const RECORD_KEY = /^(.*)\/_frequency\/log\/\d{16}$/
/** An operator starts a repair this long after a restore. */
const REPAIR_MS = 2_000
const OBJECT_KEY = /\/dt=/
const STAGED_KEY = /\/_frequency\/staged\//

const STAGING: ReadonlySet<Operation> = new Set<Operation>([
  'PutObject',
  'CreateMultipartUpload',
  'UploadPart',
  'CompleteMultipartUpload',
])

export class Damage {
  readonly #parts: DamageParts
  /** Faults that strike at their next occasion, in the order of the plan. */
  readonly #armed = new Set<Armed>()
  /** Keys that stay empty, even if a request that is under way stores there again. */
  readonly #lost = new Set<string>()
  /** The records that were seen, by key. After a restore, other records get the same keys. */
  readonly #records = new Map<string, StoredObject>()
  /** The span of each object in the log, by the object's key. */
  readonly #spans = new Map<string, Span>()
  /** The keys of objects, by the key of their record and the place of their batch. */
  readonly #objectKeys = new Map<string, string>()
  /** The key of the record that names an object, by the object's key. */
  readonly #recordOf = new Map<string, string>()
  /** Keys of objects that the log of a restored bucket does not name: their records came after the snapshot. */
  readonly #notNamedYet = new Set<string>()
  /** Keys of batches that were garbled in their record. Garbled twice, they would be whole again. */
  readonly #garbled = new Set<string>()
  /** Keys of batches that were made void. */
  readonly #void = new Set<string>()
  readonly #damagedRecords = new Map<string, DamagedRecord>()
  /** The key of the record with the bytes of an inline object, by the object's key. */
  readonly #inline = new Map<string, string>()
  /** How many staging requests still fail, by the name of the process that rebuilds a batch. */
  readonly #failing = new Map<string, number>()

  constructor(parts: DamageParts) {
    this.#parts = parts
  }

  arm(name: string, fault: DamageAct): void {
    if (fault.act === 'lose object') this.#loseObject(name, fault)
    else if (fault.act === 'damage record') this.#damageRecord(name, fault)
    else this.#armed.add({ name, fault })
  }

  /** To be called for each change, before any reader sees it. @param by the request that made it */
  changed(key: string, by: string): void {
    const { s3 } = this.#parts
    if (this.#lost.has(key)) s3.bucket.objects.delete(key)
    const object = s3.bucket.objects.get(key)
    if (object === undefined) return
    if (STAGED_KEY.test(key)) this.#staged(key, by)
    else if (OBJECT_KEY.test(key)) this.#stored(key, by)
    else if (RECORD_KEY.test(key) && this.#records.get(key) !== object) {
      this.#records.set(key, object)
      this.#recorded(key, by)
    }
  }

  #loseObject(name: string, fault: DamageAct & { act: 'lose object' }): void {
    const { s3, judges, director } = this.#parts
    const { objects } = s3.bucket
    const keys = [...objects.keys()].filter(key => OBJECT_KEY.test(key)).sort()
    if (keys.length === 0) return
    const key = director.random.pick(keys)
    if (!this.#happens(name, fault, key)) return
    const span = this.#spans.get(key)
    if (span === undefined) throw new Error(`No record has named ${key}.`)
    const isNamed = () => !this.#void.has(key) && !this.#notNamedYet.has(key) && !this.mayBeUnnamed(key)
    for (const judge of judges) judge.harmed(key, { span, isNamed })
    for (const [record, { damaged, named }] of this.#damagedRecords)
      if (objects.get(record) !== damaged) named.delete(key)
    const object = objects.get(key) as StoredObject
    objects.delete(key)
    if (fault.isCut) objects.set(key, changedObject(object, object.body.subarray(0, object.body.length - 3)))
    for (const judge of judges) judge.changed(key)
  }

  /**
   * Damages a record that has a successor. Its number stays taken, so no other record is created there. The successor
   * has its hash. Without a successor the hash would be lost with the head, and archivers that have applied the record
   * could not go on.
   */
  #damageRecord(name: string, fault: DamageAct & { act: 'damage record' }): void {
    const { s3, director } = this.#parts
    const { objects } = s3.bucket
    const keys = [...objects.keys()].filter(
      key =>
        RECORD_KEY.test(key) &&
        Number(key.slice(-16)) > 0 &&
        this.#isSettled(key) &&
        objects.has(nextKey(key)),
    )
    if (keys.length === 0) return
    const key = director.random.pick(keys.sort())
    if (!this.#happens(name, fault, key)) return
    const object = objects.get(key) as StoredObject
    const record = this.#recordAt(key) as LogRecord
    const body = Buffer.from(object.body)
    const at = director.random.between(0, record.headBytes - 1)
    body[at] = (body[at] as number) ^ 0x11
    const damaged = changedObject(object, fault.isCut ? body.subarray(0, at) : body)
    this.#overwrite(key, damaged)
    this.#damagedRecords.set(key, { damaged, named: new Set(record.batches.map(batch => batch.key)) })
    this.#repair(key, fault.operators)
  }

  #repair(key: string, plans: readonly OperatorPlan[]): void {
    const { operators, processes } = this.#parts
    const [, prefix = ''] = RECORD_KEY.exec(key) ?? []
    operators.repair(Number(key.slice(-16)), prefix, processes.all[0]?.plan as WriterPlan, plans)
  }

  /** To be called after a restore. A record that was damaged in the snapshot has to be repaired again. */
  restored(): void {
    for (const key of this.#recordOf.keys()) if (!this.#isInLog(key)) this.#notNamedYet.add(key)
    for (const [key, { damaged }] of this.#damagedRecords)
      if (this.#parts.s3.bucket.objects.get(key) === damaged)
        this.#repair(key, [{ startMs: REPAIR_MS, sleepMs: 0 }])
  }

  /** Whether a record names the object, or the record is folded. */
  #isInLog(key: string): boolean {
    const { objects } = this.#parts.s3.bucket
    const record = this.#recordOf.get(key) as string
    const object = objects.get(record)
    if (object !== undefined && object === this.#damagedRecords.get(record)?.damaged) return true
    if (this.#recordAt(record)?.batches.some(batch => batch.key === key)) return true
    const [, prefix = ''] = RECORD_KEY.exec(record) ?? []
    const { manifests } = logKeys(prefix)
    const folded = [...objects].filter(([each]) => each.startsWith(manifests))
    return folded.some(
      ([each, { body }]) =>
        decodeManifest(Number(each.slice(manifests.length)), body).through >= Number(record.slice(-16)),
    )
  }

  /** Replaces the bytes of a record. */
  #overwrite(key: string, damaged: StoredObject): void {
    this.#parts.s3.bucket.objects.set(key, damaged)
    this.#records.set(key, damaged)
  }

  #isSettled(key: string): boolean {
    const { objects } = this.#parts.s3.bucket
    return this.#recordAt(key)?.batches.every(batch => objects.has(batch.key)) === true
  }

  /** Whether archivers may refuse to go on. */
  get hasDamagedRecord(): boolean {
    return this.#damagedRecords.size > 0
  }

  /** Whether a repaired record may leave the object out: the object was lost or cut short before the repair. */
  mayBeUnnamed(key: string): boolean {
    const wasNamed = [...this.#damagedRecords.values()].some(({ named }) => named.has(key))
    return wasNamed && this.#parts.judges.some(judge => judge.isHarmed(key))
  }

  #staged(key: string, by: string): void {
    const armed = this.#next('lose staged', ({ when }) => when === 'staged')
    if (armed !== undefined) this.#lose([key], by, armed)
  }

  #recorded(key: string, by: string): void {
    const record = this.#recordAt(key)
    const staged = record?.batches.flatMap(batch => batch.staged ?? []) ?? []
    const armed = staged.length > 0 && this.#next('lose staged', ({ when }) => when === 'named')
    if (armed) this.#lose(staged, by, armed)
    for (const each of record?.voids ?? [])
      this.#void.add(this.#objectKeys.get(`${recordKey(key, each.number)} ${each.batch}`) ?? '')
    for (const [n, batch] of (record?.batches ?? []).entries()) {
      this.#objectKeys.set(`${key} ${n}`, batch.key)
      this.#recordOf.set(batch.key, key)
      this.#spans.set(batch.key, [batch.firstReceivedAt, batch.lastReceivedAt])
      if (!isInline(batch)) continue
      this.#inline.set(batch.key, key)
      const garbling = this.#next('garble body', ({ when }) => when === 'recorded')
      if (garbling !== undefined) this.#garble(key, batch.key, by, garbling)
    }
  }

  #stored(key: string, by: string): void {
    const record = this.#inline.get(key)
    const garbling = record && this.#next('garble body', ({ when }) => when === 'stored')
    if (garbling) this.#garble(record, key, by, garbling)
  }

  #garble(
    key: string,
    of: string,
    by: string,
    { name, fault }: Armed<DamageAct & { act: 'garble body' }>,
  ): void {
    const { objects } = this.#parts.s3.bucket
    const object = objects.get(key)
    const record = this.#recordAt(key)
    const batch = record?.batches.find(each => each.key === of)
    if (object === undefined || record === undefined || batch === undefined || this.#garbled.has(of)) return
    if (!this.#happens(name, fault, `${key} for ${of} by ${by}`)) return
    this.#garbled.add(of)
    const body = Buffer.from(object.body)
    const at = inlineBody(record, batch, body)
    at[at.length >> 1] = (at[at.length >> 1] as number) ^ 0x11
    this.#overwrite(key, changedObject(object, body))
    if (fault.backMs !== undefined) this.#kill(by, fault.backMs)
  }

  /** The fault that the request must have; undefined if none is forced. */
  forcedFault(sender: string, operation: Operation, key: string): FaultKind | undefined {
    if (!STAGED_KEY.test(key)) return undefined
    if (operation === 'GetObject') {
      const armed = this.#next('fail staging', () => true)
      if (armed !== undefined && this.#happens(armed.name, armed.fault, sender))
        this.#failing.set(sender, armed.fault.requests)
      return undefined
    }
    const left = this.#failing.get(sender) ?? 0
    if (left === 0 || this.#parts.chaos.isOver || !STAGING.has(operation)) return undefined
    this.#failing.set(sender, left - 1)
    this.#parts.saw('** a request that stages a batch again fails')
    return 'status 503'
  }

  #lose(
    keys: readonly string[],
    by: string,
    { name, fault }: Armed<DamageAct & { act: 'lose staged' }>,
  ): void {
    const { s3, sim } = this.#parts
    if (!this.#happens(name, fault, by)) return
    for (const key of keys) {
      sim.note(`    store: ${key} is lost`)
      this.#lost.add(key)
      s3.bucket.objects.delete(key)
    }
    if (fault.backMs !== undefined) this.#kill(by, fault.backMs)
  }

  #kill(by: string, backMs: number): void {
    const { processes } = this.#parts
    const writer = processes.all.find(({ actor }) => actor !== undefined && by.startsWith(`${actor.name}#`))
    if (writer === undefined) return
    processes.kill(writer, 0)
    processes.restartIn(writer, backMs)
  }

  #happens(name: string, fault: DamageAct, by: string): boolean {
    const { chaos, sim, saw } = this.#parts
    if (!chaos.happens(name, `${JSON.stringify(fault)} at ${by}`)) return false
    sim.note(`** ${JSON.stringify(fault)} at ${by}`)
    saw(`** ${fault.act}`)
    return true
  }

  /** Takes the first armed fault that fits. */
  #next<Act extends DamageAct['act']>(
    act: Act,
    fits: (fault: DamageAct & { act: Act }) => boolean,
  ): Armed<DamageAct & { act: Act }> | undefined {
    for (const armed of this.#armed) {
      if (armed.fault.act !== act || !fits(armed.fault as DamageAct & { act: Act })) continue
      this.#armed.delete(armed)
      return armed as Armed<DamageAct & { act: Act }>
    }
    return undefined
  }

  #recordAt(key: string): LogRecord | undefined {
    const object = this.#parts.s3.bucket.objects.get(key)
    return object && decodeHead(Number(key.slice(-16)), object.body)
  }
}

/** The object with another body, as in a store without checksums. */
function changedObject(object: StoredObject, body: Buffer): StoredObject {
  const { 'x-amz-checksum-crc32': _, ...headers } = object.headers
  return { ...object, body, headers }
}

function nextKey(key: string): string {
  return recordKey(key, Number(key.slice(-16)) + 1)
}

/** @param key of any record of the log */
function recordKey(key: string, number: number): string {
  return key.slice(0, -16) + String(number).padStart(16, '0')
}
