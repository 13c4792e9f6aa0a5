/**
 * One run: rounds of faults under load. Then all faults are repaired, queues and spools drain, all processes are
 * shut down, and the archive is compared with the sent events.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { audit, type Verdict } from './audit.ts'
import { type Fault, Missed } from './fault.ts'
import { choose, faultsOf } from './faults.ts'
import { Load, type Pace } from './load.ts'
import { Random } from './random.ts'
import type { Ledger } from './sent-events.ts'
import { openStage, type Stage, type StageOptions } from './stage.ts'
import { StoreClient } from './store-client.ts'
import { measureStorm, type StormResult } from './storm.ts'

const FAULTS_MAX = 4
const FAULT_BEGINS_MS_MAX = 3_000
const REST_MS_MAX = 1_500
const HEAVY_SHARE = 0.2
const STORM_SHARE = 0.2
const DRAIN_MS_MAX = 240_000
const DRAIN_POLL_MS = 1_000
/** Empty polls in a row that count as drained. A message between spool and queue is counted in neither. */
const DRAINED_POLLS = 3
const CLIENT_TIMES = { retryMsMax: 60_000, repeatMsMax: 20_000 }
/** For a dedupe window of a minute: clients have to end within it. */
const SHORT_CLIENT_TIMES = { retryMsMax: 10_000, repeatMsMax: 10_000 }

export interface RunOptions extends StageOptions {
  readonly rounds: number
  /** Approximate events per second. */
  readonly rate: number
  /** Size of each backlog of the retry storm measurement; 0 skips it. */
  readonly stormEvents: number
  /** Only faults whose names contain one of these; empty for all. */
  readonly only: readonly string[]
  /** Directory for logs and data after a failure, or always. */
  readonly keep: string
  readonly keepsAlways: boolean
  report(line: string): void
}

/** How often a fault was injected, with and without effect. */
export interface InjectionCounts {
  done: number
  missed: number
}

export interface Outcome {
  /** Version of RabbitMQ. */
  readonly brokerVersion: string
  readonly ledger: Ledger
  readonly verdict: Verdict
  readonly injections: ReadonlyMap<string, InjectionCounts>
  readonly storm: StormResult | undefined
  /** From the end of the load until all events were archived, in seconds. */
  readonly drainSeconds: number
  /** Descriptions of everything that is wrong; empty if nothing is. */
  readonly findings: readonly string[]
  readonly seconds: number
}

/** Runs the test. Keeps the logs if it fails or has findings. @throws Error if the stage itself fails */
export async function run(options: RunOptions): Promise<Outcome> {
  const stage = await openStage(options)
  let isClean = false
  try {
    const round = new Run(stage, options)
    const outcome = await round.play().finally(() => round.close())
    isClean = outcome.findings.length === 0
    return outcome
  } finally {
    if (!isClean || options.keepsAlways) stage.keep(options.keep)
    await stage.close()
  }
}

class Run {
  readonly #stage: Stage
  readonly #options: RunOptions
  readonly #load: Load
  readonly #injections = new Map<string, InjectionCounts>()
  readonly #startedAt = performance.now()

  constructor(stage: Stage, options: RunOptions) {
    this.#stage = stage
    this.#options = options
    const ports = stage.ingests.map(({ port }) => port)
    const times = options.window === undefined ? CLIENT_TIMES : SHORT_CLIENT_TIMES
    this.#load = new Load(ports, stage.ledger, new Random(`${options.seed} load`), times)
  }

  /** Ends the load, also if the run has failed: the clients would keep this process alive. */
  async close(): Promise<void> {
    await this.#load.stop()
    this.#load.close()
  }

  async play(): Promise<Outcome> {
    const { ledger, brokers } = this.#stage
    await this.#begin()
    const faults = faultsOf(this.#stage).filter(fault => this.#isWanted(fault))
    if (faults.length === 0) throw new Error(`No fault has such a name: ${this.#options.only.join(', ')}`)
    for (let round = 1; round <= this.#options.rounds; round++) await this.#playRound(round, faults)
    await this.#load.stop()
    this.#report('the load has ended: waiting until all events are archived')
    const loadEndedAt = performance.now()
    const leftOver = await this.#drainAndStop()
    const drainSeconds = Math.round((performance.now() - loadEndedAt) / 1_000)
    const storm = leftOver.length === 0 ? await this.#measureStorm() : undefined
    if (storm !== undefined) leftOver.push(...storm.findings, ...(await this.#drainAndStop()))
    const letters = ledger.judgeDeadLetters(await this.#stage.takeDeadLetters())
    const verdict = await this.#audit()
    const complaints = this.#stage.programs.flatMap(program => program.complaints)
    return {
      brokerVersion: brokers.version,
      ledger,
      verdict,
      injections: this.#injections,
      storm,
      drainSeconds,
      findings: [...describe(verdict), ...leftOver, ...letters, ...ledger.complaints, ...complaints],
      seconds: Math.round((performance.now() - this.#startedAt) / 1_000),
    }
  }

  async #begin(): Promise<void> {
    const random = new Random(`${this.#options.seed} begin`)
    for (const program of this.#stage.programs) if (program.isOver) this.#stage.start(program, random)
    await Promise.all(this.#stage.programs.map(program => program.ready()))
  }

  async #playRound(round: number, faults: readonly Fault[]): Promise<void> {
    const random = new Random(`${this.#options.seed} round ${round}`)
    const pace = paceOf(random, this.#options.rate)
    this.#load.start(pace)
    const chosen = choose(random, faults, FAULTS_MAX)
    const names = chosen.map(({ name }) => name).join(', ')
    this.#report(`round ${round}${pace.isStorm ? ', a retry storm' : ''}: ${names}`)
    const injections = chosen.map((fault, index) => {
      const own = new Random(`${this.#options.seed} round ${round} fault ${index}`)
      return this.#inject(fault, own)
    })
    await Promise.all(injections)
    await sleep(random.between(0, REST_MS_MAX))
  }

  async #inject(fault: Fault, random: Random): Promise<void> {
    const counts = this.#injections.get(fault.name) ?? { done: 0, missed: 0 }
    this.#injections.set(fault.name, counts)
    await sleep(random.between(0, FAULT_BEGINS_MS_MAX))
    this.#stage.note(`${fault.name} begins: ${nameOf(fault)}`)
    try {
      await fault.inject(random)
      counts.done++
      this.#stage.note(`${fault.name} is over: ${nameOf(fault)}`)
    } catch (error) {
      if (!(error instanceof Missed)) throw error
      counts.missed++
      this.#stage.note(`${fault.name} missed: ${error.message}`)
    }
  }

  async #measureStorm(): Promise<StormResult | undefined> {
    const { stormEvents, seed } = this.#options
    if (stormEvents === 0) return undefined
    this.#report('measuring a retry storm')
    await this.#begin()
    return await measureStorm(this.#stage, this.#load, new Random(`${seed} storm`), stormEvents)
  }

  async #audit(): Promise<Verdict> {
    const client = new StoreClient(this.#stage.store)
    try {
      return await audit(client, this.#stage.ledger, this.#stage.damaged)
    } finally {
      client.close()
    }
  }

  /** Waits until all events are archived, and stops all processes. @returns findings if that takes too long */
  async #drainAndStop(): Promise<string[]> {
    const deadline = performance.now() + DRAIN_MS_MAX
    for (;;) {
      await this.#begin()
      const leftOver = await this.#drain(deadline)
      await this.#load.stop()
      await Promise.all(this.#stage.programs.map(program => program.stop()))
      const events = await this.#stage.queued()
      if (events === 0 || leftOver.length > 0) return leftOver
      // An archiver has returned deliveries that it had no time to archive.
      this.#report(`${events} messages returned to the queue`)
    }
  }

  async #drain(deadline: number): Promise<string[]> {
    let waiting = ''
    for (let emptyPolls = 0; emptyPolls < DRAINED_POLLS; ) {
      if (performance.now() > deadline) {
        const broker = (await this.#stage.confirms()) ? 'confirms' : 'does not confirm'
        return [
          `stuck: not archived within ${DRAIN_MS_MAX} ms: ${waiting}; the broker ${broker} new messages`,
        ]
      }
      const events = await this.#stage.queued()
      const spooled = await Promise.all(this.#stage.ingests.map(ingest => this.#stage.spooled(ingest)))
      const isEmpty = events === 0 && spooled.every(count => count === 0)
      waiting = `${events} messages on the queue, ${spooled.join(' and ')} in the spools`
      emptyPolls = isEmpty ? emptyPolls + 1 : 0
      if (!isEmpty) this.#report(waiting)
      await sleep(DRAIN_POLL_MS)
    }
    return []
  }

  #isWanted({ name, isOptional = false }: Fault): boolean {
    const { only } = this.#options
    return only.length === 0 ? !isOptional : only.some(part => name.includes(part))
  }

  #report(line: string): void {
    this.#stage.note(line)
    const { size, acknowledged } = this.#stage.ledger
    this.#options.report(`${line} (${size} sent, ${acknowledged} acknowledged)`)
  }
}

function paceOf(random: Random, rate: number): Pace {
  const isStorm = random.chance(STORM_SHARE)
  // Batches of such large events are uploaded in parts.
  if (random.chance(HEAVY_SHARE))
    return { perSecond: Math.ceil(rate / 20), bytesMin: 50_000, bytesMax: 150_000, isStorm }
  return { perSecond: rate, bytesMin: 20, bytesMax: 400, isStorm }
}

function describe({ duplicates, missing, unknown, unreadable }: Verdict): string[] {
  return [
    ...missing.map(
      ({ ordinal, messageId, source }) => `missing: event ${ordinal}, id ${messageId}, of ${source}`,
    ),
    ...duplicates.map(
      ({ ordinal, messageId, places }) =>
        `duplicated: event ${ordinal}, id ${messageId}, in ${places.join(' and ')}`,
    ),
    ...unknown.map(each => `not as it was sent: ${each}`),
    ...unreadable.map(each => `unreadable: ${each}`),
  ]
}

function nameOf({ on }: Fault): string {
  return on.map(each => ('name' in each ? each.name : each.constructor.name)).join(', ')
}
