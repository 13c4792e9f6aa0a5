/**
 * One run: rounds of faults under load, then everything is healed, what is queued and spooled flows off,
 * all processes are shut down, and the archive is held against what was sent.
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
/** How often in a row nothing must be found waiting: a message on its way from a spool is in neither place. */
const DRAINED_POLLS = 3
const PATIENCE = { giveUpMs: 60_000, repeatMsMax: 20_000 }
/** Of clients that are to be done within a dedupe window of a minute. */
const SHORT_PATIENCE = { giveUpMs: 10_000, repeatMsMax: 10_000 }

export interface RunOptions extends StageOptions {
  readonly rounds: number
  /** Events a second, about. */
  readonly rate: number
  /** In each of the backlogs by which a retry storm is measured; 0 leaves that out. */
  readonly stormEvents: number
  /** Faults whose names hold one of these; all where there is none. */
  readonly only: readonly string[]
  /** Where logs and data are kept after a failure, or always. */
  readonly keep: string
  readonly keepsAlways: boolean
  report(line: string): void
}

/** How often a fault struck, and how often it found nothing to strike. */
export interface Strikes {
  struck: number
  missed: number
}

export interface Outcome {
  /** Of RabbitMQ. */
  readonly brokerVersion: string
  readonly ledger: Ledger
  readonly verdict: Verdict
  readonly strikes: ReadonlyMap<string, Strikes>
  readonly storm: StormResult | undefined
  /** From the end of the load until all was archived, in seconds. */
  readonly drainSeconds: number
  /** All that is wrong, in words; empty where nothing is. */
  readonly findings: readonly string[]
  readonly seconds: number
}

/** @throws Error where the stage itself breaks down. Then, and where there are findings, logs are kept. */
export async function run(options: RunOptions): Promise<Outcome> {
  const stage = await openStage(options)
  let isClean = false
  try {
    const outcome = await new Run(stage, options).play()
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
  readonly #strikes = new Map<string, Strikes>()
  readonly #startedAt = performance.now()

  constructor(stage: Stage, options: RunOptions) {
    this.#stage = stage
    this.#options = options
    const ports = stage.ingests.map(({ port }) => port)
    const patience = options.window === undefined ? PATIENCE : SHORT_PATIENCE
    this.#load = new Load(ports, stage.ledger, new Random(`${options.seed} load`), patience)
  }

  async play(): Promise<Outcome> {
    const { ledger, brokers } = this.#stage
    await this.#begin()
    const faults = faultsOf(this.#stage).filter(fault => this.#isWanted(fault))
    if (faults.length === 0) throw new Error(`There is no such fault: ${this.#options.only.join(', ')}`)
    for (let round = 1; round <= this.#options.rounds; round++) await this.#playRound(round, faults)
    await this.#load.stop()
    this.#report('the load has ended: waiting until all is archived')
    const loadEndedAt = performance.now()
    const leftOver = await this.#drainAndStop()
    const drainSeconds = Math.round((performance.now() - loadEndedAt) / 1_000)
    const storm = leftOver.length === 0 ? await this.#measureStorm() : undefined
    if (storm !== undefined) leftOver.push(...storm.findings, ...(await this.#drainAndStop()))
    this.#load.close()
    const letters = ledger.judgeDeadLetters(await this.#stage.takeDeadLetters())
    const verdict = await this.#audit()
    const complaints = this.#stage.programs.flatMap(program => program.complaints)
    const findings = [...inWords(verdict), ...leftOver, ...letters, ...ledger.complaints, ...complaints]
    const seconds = Math.round((performance.now() - this.#startedAt) / 1_000)
    const brokerVersion = brokers.version
    return { brokerVersion, ledger, verdict, strikes: this.#strikes, storm, drainSeconds, findings, seconds }
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
    const strikes = chosen.map((fault, index) => {
      const own = new Random(`${this.#options.seed} round ${round} fault ${index}`)
      return this.#strike(fault, own)
    })
    await Promise.all(strikes)
    await sleep(random.between(0, REST_MS_MAX))
  }

  async #strike(fault: Fault, random: Random): Promise<void> {
    const strikes = this.#strikes.get(fault.name) ?? { struck: 0, missed: 0 }
    this.#strikes.set(fault.name, strikes)
    await sleep(random.between(0, FAULT_BEGINS_MS_MAX))
    this.#stage.note(`${fault.name} begins: ${nameOf(fault)}`)
    try {
      await fault.strike(random)
      strikes.struck++
      this.#stage.note(`${fault.name} is over: ${nameOf(fault)}`)
    } catch (error) {
      if (!(error instanceof Missed)) throw error
      strikes.missed++
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

  /** Resolves, when all is archived and no process runs any more, to what still waits when time is up. */
  async #drainAndStop(): Promise<string[]> {
    const deadline = performance.now() + DRAIN_MS_MAX
    for (;;) {
      await this.#begin()
      const leftOver = await this.#drain(deadline)
      await this.#load.stop()
      await Promise.all(this.#stage.programs.map(program => program.stop()))
      const events = await this.#stage.queued()
      if (events === 0 || leftOver.length > 0) return leftOver
      // What an archiver held, and gave back because it was not given the time to archive it.
      this.#report(`${events} messages came back to the queue`)
    }
  }

  async #drain(deadline: number): Promise<string[]> {
    let waiting = ''
    for (let emptyPolls = 0; emptyPolls < DRAINED_POLLS; ) {
      if (performance.now() > deadline) {
        const broker = (await this.#stage.confirms()) ? 'confirms' : 'does not confirm'
        return [`stuck: not archived within ${DRAIN_MS_MAX} ms: ${waiting}; the broker ${broker} what is new`]
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
  // A batch of these is uploaded in parts.
  if (random.chance(HEAVY_SHARE))
    return { perSecond: Math.ceil(rate / 20), bytesMin: 50_000, bytesMax: 150_000, isStorm }
  return { perSecond: rate, bytesMin: 20, bytesMax: 400, isStorm }
}

function inWords({ doubled, missing, strange, unreadable }: Verdict): string[] {
  return [
    ...missing.map(
      ({ ordinal, messageId, source }) => `missing: event ${ordinal}, id ${messageId}, of ${source}`,
    ),
    ...doubled.map(
      ({ ordinal, messageId, places }) =>
        `doubled: event ${ordinal}, id ${messageId}, in ${places.join(' and ')}`,
    ),
    ...strange.map(each => `never sent like this: ${each}`),
    ...unreadable.map(each => `unreadable: ${each}`),
  ]
}

function nameOf({ on }: Fault): string {
  return on.map(each => ('name' in each ? each.name : each.constructor.name)).join(', ')
}
