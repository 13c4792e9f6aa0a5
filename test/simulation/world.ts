/** Runs one schedule: processes, a queue for each log, a store, and what goes wrong with them. */

import './virtual-time.ts'
import type { Archiver } from '../../src/archive/archiver.ts'
import type { Logger } from '../../src/logger.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { Chaos } from './chaos.ts'
import { type Finding, Judge } from './judge.ts'
import { EMPTY_DISK, type IndexDisk, MemoryIndex } from './memory-index.ts'
import type { FaultPlan, Plan, WriterPlan } from './plan.ts'
import { messageOf, openStoreOf, serveStore, startArchiver } from './product.ts'
import { type QueueMessage, SimulatedQueue } from './simulated-queue.ts'
import { SimulatedS3 } from './simulated-s3.ts'
import { Actor, Simulation } from './simulation.ts'
import { currentActor } from './virtual-time.ts'

/** How long after the last fault everything has to be archived. */
const CALM_MS_MAX = 180_000
const STOP_MS_MAX = 60_000
/** Longer than the latest effect of a request. */
const LATE_MS_MAX = 3 * 60 * 60 * 1000
const NOTICED_MS_MAX = 5_000
const STEPS_MAX = 50_000
const BACK_MS_MAX = 1_000
/** Within this a writer with a sealed batch commits; and it takes so many requests from a delivery to its end. */
const TURN_MS_MAX = 5_000
const ROUND_TRIPS_MAX = 30
/** Writes, where each record has one batch: the record and the object; the staged object, the record and the copy. */
const SMALL_BATCH_REQUESTS_MAX = 2
const LARGE_BATCH_REQUESTS_MAX = 3
/** Of objects, staged objects, and records but the first. */
const BATCH_KEY = /\/dt=|_frequency\/(?:staged\/|log\/\d*[1-9]\d*$)/
const REFUSALS = new Set(['FRQ_LOG_REFUSED', 'FRQ_LOG_DAMAGED'])
const FOLDED_MS_MIN = 45 * 60 * 1000
const PART_BYTES = 5 * 1024 * 1024

export interface Outcome {
  readonly seed: string
  readonly findings: readonly Finding[]
  /** What happened, by name, and what it was: each can be left out. */
  readonly happened: ReadonlyMap<string, string>
  readonly traceHash: string
  readonly trace: readonly string[]
  readonly steps: number
  readonly requests: number
  readonly events: number
  readonly objects: number
  readonly virtualMs: number
}

/** A process that is started again whenever it ended. */
class Writer {
  readonly plan: WriterPlan
  lives = 0
  actor: Actor | undefined
  archiver: Archiver | undefined
  /** All its lives have one: what is proven of the store need not be proven again. */
  store: ObjectStore | undefined
  index: MemoryIndex | undefined
  disk: IndexDisk = EMPTY_DISK
  /** A copy of its disk from another time. */
  stale: IndexDisk = EMPTY_DISK

  constructor(plan: WriterPlan) {
    this.plan = plan
  }
}

export class World {
  readonly #plan: Plan
  readonly #sim: Simulation
  readonly #chaos: Chaos
  readonly #s3: SimulatedS3
  readonly #judges: Judge[] = []
  readonly #queues: SimulatedQueue[] = []
  readonly #writers: Writer[]
  readonly #director: Actor
  readonly #published = new Map<string, QueueMessage>()
  readonly #extra: Finding[] = []
  readonly #foldsWanted = new Set<Actor>()
  #snapshot: ReturnType<SimulatedS3['snapshot']> | undefined
  #isRestored = false
  /** Lives that ended when the bucket was restored: what they archived is not there any more. */
  readonly #undone = new Set<string>()
  /** The product has said in words that it does not go on. */
  #hasRefused = false
  /** Whoever has stopped stays away. */
  #isEnding = false

  constructor(plan: Plan, options: { leftOut?: ReadonlySet<string>; keepsTrace?: boolean } = {}) {
    this.#plan = plan
    this.#sim = new Simulation(plan.seed, options.keepsTrace)
    this.#chaos = new Chaos(options.leftOut)
    this.#director = new Actor('director', plan.seed)
    this.#s3 = new SimulatedS3(this.#sim, this.#chaos, plan.store)
    for (let n = 0; n < plan.logs; n++) this.#addLog(n)
    this.#s3.onChange = key => {
      for (const judge of this.#judges) judge.changed(key)
    }
    this.#writers = plan.writers
      .filter(({ name }, n) => n < plan.logs || this.#chaos.has(`writer ${name}`, 'is there'))
      .map(each => new Writer(each))
  }

  async run(): Promise<Outcome> {
    serveStore(this.#s3, {
      partBytes: () => this.#writerOf(currentActor())?.plan.partBytes ?? PART_BYTES,
      takesFold: () => this.#foldsWanted.delete(currentActor()),
    })
    await this.#sim.enter(() => this.#play())
    return {
      seed: this.#plan.seed,
      findings: this.#findings,
      happened: this.#chaos.happened,
      traceHash: this.#sim.traceHash,
      trace: this.#sim.lines ?? [],
      steps: this.#sim.steps,
      requests: this.#s3.requests.length,
      events: this.#judges.reduce((sum, { archivedCount }) => sum + archivedCount, 0),
      objects: this.#judges.reduce((sum, { objectCount }) => sum + objectCount, 0),
      virtualMs: this.#sim.elapsedMs,
    }
  }

  get #findings(): Finding[] {
    const crashes = this.#sim.crashes.map(({ actor, error }) => ({
      kind: 'crash' as const,
      text: `${actor}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    }))
    return [...this.#judges.flatMap(({ findings }) => findings), ...this.#extra, ...crashes]
  }

  get #isFound(): boolean {
    return (
      this.#extra.length > 0 ||
      this.#sim.crashes.length > 0 ||
      this.#judges.some(({ findings }) => findings.length > 0)
    )
  }

  #writerOf(actor: Actor): Writer | undefined {
    return this.#writers.find(each => each.actor === actor)
  }

  get #unsettled(): string[] {
    return this.#queues.flatMap(({ unsettled }) => unsettled)
  }

  #addLog(n: number): void {
    const judge = new Judge(prefixOf(n), key => this.#s3.readable(key))
    this.#judges.push(judge)
    this.#queues.push(
      new SimulatedQueue(`queue ${n}`, this.#sim, this.#plan.queue, {
        acknowledged: (message, by, heldMs) => {
          if (!this.#undone.has(by)) judge.acknowledged(message, by)
          this.#judgeTime(message, by, heldMs)
        },
        buried: (message, by) => judge.buried(message, by),
      }),
    )
  }

  async #play(): Promise<void> {
    const { messages, faults, calmMs } = this.#plan
    const sim = this.#sim
    for (const message of messages) {
      if (!this.#chaos.has(message.name, message.kind)) continue
      sim.after(message.atMs, this.#director, message.name, () => this.#publish(message))
    }
    for (const writer of this.#writers)
      sim.after(writer.plan.startMs, this.#director, `start ${writer.plan.name}`, () => this.#start(writer))
    for (const fault of faults) {
      if (fault.fault.act === 'restore')
        sim.after(fault.fault.fromMs, this.#director, 'snapshot', () => {
          this.#snapshot = this.#s3.snapshot()
        })
      sim.after(fault.atMs, this.#director, fault.name, () => {
        const what = `${JSON.stringify(fault.fault)} ${fault.writer}`
        if (this.#chaos.happens(fault.name, what)) this.#fault(fault)
      })
    }
    const isOver = () => this.#isFound || sim.steps > STEPS_MAX
    await sim.run(calmMs, isOver)
    await sim.act(this.#director, () => this.#calm())
    await sim.run(calmMs + CALM_MS_MAX, () => isOver() || this.#unsettled.length === 0)
    if (this.#isFound) return
    if (!(this.#isRestored && this.#hasRefused))
      for (const [n, judge] of this.#judges.entries()) judge.end(this.#queues[n]?.unsettled ?? [])
    this.#judgeRequests()
    await this.#stopAll()
    // What is on its way still takes effect.
    await sim.run(sim.elapsedMs + LATE_MS_MAX, isOver)
    if (sim.steps > STEPS_MAX) this.#find('stuck', `${STEPS_MAX} events, and no end`)
  }

  #publish(plan: Plan['messages'][number]): void {
    const copied = plan.copyOf === undefined ? undefined : this.#published.get(plan.copyOf)
    const message = copied === undefined ? messageOf(plan, this.#sim.epochMs) : { ...copied, name: plan.name }
    this.#published.set(plan.name, message)
    this.#judges[plan.log]?.published(message)
    this.#queues[plan.log]?.publish(message)
  }

  #start(writer: Writer): void {
    if (writer.actor !== undefined || this.#isEnding) return
    const { plan } = writer
    const name = `${plan.name}${++writer.lives}`
    const actor = new Actor(name, this.#plan.seed, plan.clockMs)
    writer.actor = actor
    this.#sim.after(0, actor, `start ${name}`, () => {
      this.#sim.note(`${name} starts`)
      this.#live(writer, actor).catch(error =>
        this.#find('crash', `${name} does not start: ${(error as Error).message}`),
      )
    })
  }

  async #live(writer: Writer, actor: Actor): Promise<void> {
    const { plan } = writer
    const prefix = prefixOf(plan.log)
    const queue = this.#queueOf(writer).connection(actor, plan.prefetch, plan.priority)
    const index = new MemoryIndex(writer.disk, plan.rangesMax, record => this.#isFolded(prefix, record))
    writer.index = index
    writer.store ??= await openStoreOf(plan, prefix)
    writer.archiver = await startArchiver(
      { plan, prefix, queue, index, log: this.#logOf(actor.name) },
      writer.store,
    )
  }

  /** Whether a manifest has said so for longer than any process goes without a look. */
  #isFolded(prefix: string, record: number): boolean {
    const before = this.#sim.wallClock(this.#s3.actor) - FOLDED_MS_MIN
    for (const [key, { body, lastModified }] of this.#s3.bucket.objects) {
      if (!key.startsWith(`${prefix}/_frequency/manifests/`) || lastModified.getTime() > before) continue
      if (JSON.parse(body.toString()).through >= record) return true
    }
    return false
  }

  #logOf(name: string): Logger {
    const write = (first: unknown, second?: string) => {
      const { err, ...fields } = typeof first === 'string' ? { err: undefined } : (first as { err?: Error })
      const reason = err === undefined ? '' : ` (${err.message})`
      if (REFUSALS.has((err as NodeJS.ErrnoException | undefined)?.code ?? '')) this.#refused(name, reason)
      this.#sim.note(
        `  ${name}: ${second ?? first}${reason} ${Object.keys(fields).length > 0 ? JSON.stringify(fields) : ''}`,
      )
    }
    return {
      fatal: write,
      error: write,
      warn: write,
      info: write,
      debug: write,
      trace: write,
    } as unknown as Logger
  }

  #refused(name: string, reason: string): void {
    this.#hasRefused = true
    if (!this.#isRestored) this.#find('refused', `${name} does not go on${reason}`)
  }

  /** Each writer gets its turn. */
  #judgeTime({ name }: QueueMessage, by: string, heldMs: number): void {
    const { isQuiet, store, queue, writers } = this.#plan
    if (!isQuiet) return
    const { batchAgeMsMax = 0 } = writers.find(each => by.startsWith(each.name)) ?? {}
    const limit = batchAgeMsMax + TURN_MS_MAX + ROUND_TRIPS_MAX * (store.latencyMsMax + queue.latencyMsMax)
    if (heldMs > limit) this.#find('slow', `${by} had ${name} for ${heldMs} ms; the limit is ${limit}`)
  }

  /** What one writer that is alone asks of the store, for each batch. */
  #judgeRequests(): void {
    const { isQuiet, writers, store } = this.#plan
    const isPlain = isQuiet && writers.length === 1 && (writers[0]?.partBytes ?? 0) >= PART_BYTES
    // A client whose clock is far from the store's asks more than once.
    if (!isPlain || Math.abs(store.clockMs - (writers[0]?.clockMs ?? 0)) > 1_000) return
    const objects = this.#judges.reduce((sum, { objectCount }) => sum + objectCount, 0)
    const writes = this.#s3.requests.filter(
      ({ operation, key }) => /^(PutObject|CopyObject)$/.test(operation) && BATCH_KEY.test(key),
    ).length
    const isStaging = this.#s3.requests.some(({ operation }) => operation === 'CopyObject')
    const limit = objects * (isStaging ? LARGE_BATCH_REQUESTS_MAX : SMALL_BATCH_REQUESTS_MAX)
    if (writes > limit)
      this.#find('requests', `${writes} writes for ${objects} objects; the limit is ${limit}`)
  }

  #fault({ writer: name, fault }: FaultPlan): void {
    if (fault.act === 'restore') {
      this.#restore(fault.backMs)
      return
    }
    const writer = this.#writers.find(each => each.plan.name === name)
    if (writer === undefined) return
    this.#sim.note(`** ${name}${writer.lives}: ${JSON.stringify(fault)}`)
    const { actor } = writer
    if (actor === undefined) return
    switch (fault.act) {
      case 'kill':
        this.#kill(writer, fault.loses)
        this.#restartIn(writer, fault.backMs)
        return
      case 'pause':
        this.#sim.pause(actor)
        this.#sim.after(fault.ms, this.#director, `wake ${actor.name}`, () => this.#wake(actor))
        return
      case 'stop':
        this.#stop(writer, fault.backMs)
        return
      case 'lose':
        for (const each of this.#consumersOf(writer)) this.#queueOf(writer).lose(each, fault.toldMs)
        return
      case 'deactivate':
        for (const each of this.#consumersOf(writer)) {
          this.#queueOf(writer).deactivate(each)
          this.#sim.after(fault.ms, this.#director, 'activate', () => this.#queueOf(writer).activate(each))
        }
        return
      case 'requeue':
        for (const each of this.#consumersOf(writer)) this.#queueOf(writer).requeue(each, fault.isAll)
        return
      case 'fold':
        this.#foldsWanted.add(actor)
        return
    }
  }

  /** As an operator does it: all archivers are stopped meanwhile. */
  #restore(backMs: number): void {
    if (this.#snapshot === undefined) return
    this.#sim.note('** the bucket is restored')
    this.#isRestored = true
    for (const writer of this.#writers) {
      for (let life = 1; life <= writer.lives; life++) this.#undone.add(`${writer.plan.name}${life}`)
      this.#kill(writer, 0)
      this.#restartIn(writer, backMs)
    }
    const before = [...this.#s3.bucket.objects.keys()]
    this.#s3.restore(this.#snapshot)
    for (const judge of this.#judges) judge.restored([...before, ...this.#snapshot.keys()])
  }

  #wake(actor: Actor): void {
    if (actor.state !== 'paused') return
    this.#sim.note(`** ${actor.name} wakes`)
    this.#sim.wake(actor)
  }

  #queueOf({ plan }: Writer): SimulatedQueue {
    return this.#queues[plan.log] as SimulatedQueue
  }

  #consumersOf(writer: Writer) {
    return writer.actor === undefined ? [] : this.#queueOf(writer).consumersOf(writer.actor)
  }

  #kill(writer: Writer, loses: number | 'all' | 'stale'): void {
    const { actor, index } = writer
    if (actor === undefined) return
    const queue = this.#queueOf(writer)
    const consumers = this.#consumersOf(writer)
    this.#sim.end(actor)
    writer.actor = undefined
    writer.archiver = undefined
    if (loses === 'all') writer.disk = EMPTY_DISK
    else if (loses === 'stale') writer.disk = writer.stale
    else if (index !== undefined) writer.disk = index.disk(loses)
    writer.stale = index?.disk() ?? EMPTY_DISK
    for (const each of consumers)
      this.#sim.after(this.#director.random.between(0, NOTICED_MS_MAX), this.#director, 'noticed', () =>
        queue.remove(each),
      )
  }

  #restartIn(writer: Writer, ms: number): void {
    // Who was still on the way down when the faults ended comes back soon.
    const inMs = this.#chaos.isOver ? Math.min(ms, BACK_MS_MAX) : ms
    this.#sim.after(inMs, this.#director, `start ${writer.plan.name}`, () => this.#start(writer))
  }

  /** As SIGTERM does: it ends what it has begun, and is killed where that takes too long. */
  #stop(writer: Writer, backMs: number | undefined): void {
    const { actor, archiver } = writer
    if (actor === undefined) return
    const end = (how: string) => {
      if (writer.actor !== actor) return
      this.#sim.note(`${actor.name} ${how}`)
      this.#kill(writer, 0)
      if (backMs !== undefined) this.#restartIn(writer, backMs)
    }
    if (archiver === undefined) {
      end('is ended at its start')
      return
    }
    this.#sim.after(0, actor, 'stop', () => {
      this.#sim.note(`${actor.name} is to stop`)
      archiver.stop().then(
        () => end('has stopped'),
        error => this.#find('crash', `${actor.name} does not stop: ${(error as Error).message}`),
      )
    })
    this.#sim.after(STOP_MS_MAX, this.#director, 'stop', () => {
      if (writer.actor === actor && backMs === undefined && this.#chaos.isOver)
        this.#find('stuck', `${actor.name} does not stop`)
      end('is ended: it took too long to stop')
    })
  }

  /** Nothing goes wrong from now on. */
  #calm(): void {
    this.#sim.note('** faults are over')
    this.#chaos.isOver = true
    for (const writer of this.#writers) {
      if (writer.actor === undefined) this.#start(writer)
      else this.#wake(writer.actor)
      for (const each of this.#consumersOf(writer))
        if (!each.isActive && each.told === each.channel) this.#queueOf(writer).activate(each)
    }
  }

  async #stopAll(): Promise<void> {
    const sim = this.#sim
    this.#isEnding = true
    await sim.act(this.#director, () => {
      for (const writer of this.#writers) this.#stop(writer, undefined)
    })
    await sim.run(
      sim.elapsedMs + 2 * STOP_MS_MAX,
      () => this.#isFound || this.#writers.every(({ actor }) => actor === undefined),
    )
  }

  #find(kind: Finding['kind'], text: string): void {
    this.#extra.push({ kind, text })
  }
}

function prefixOf(log: number): string {
  return `archive-${log}`
}
