/**
 * One run: rounds of faults under load, then everything is healed, what is queued and spooled flows off,
 * all processes are shut down, and the archive is held against what was sent.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { audit, type Verdict } from './audit.ts'
import { type Fault, faultsOf } from './faults.ts'
import { Ledger } from './ledger.ts'
import { Load, type Pace } from './load.ts'
import { Random } from './random.ts'
import { batchSettings, openStage, type Stage, type StageOptions } from './stage.ts'

const FAULTS_MAX = 4
const FAULT_BEGINS_MS_MAX = 3_000
const REST_MS_MAX = 1_500
const HEAVY_SHARE = 0.2
const DRAIN_MS_MAX = 240_000
const DRAIN_POLL_MS = 1_000
/** How often in a row nothing must be found waiting: a message on its way from a spool is in neither place. */
const DRAINED_POLLS = 3

export interface RunOptions extends StageOptions {
  readonly seed: string
  readonly rounds: number
  /** Events a second, about. */
  readonly rate: number
  /** Faults whose names hold one of these; all where there is none. */
  readonly only: readonly string[]
  /** Where logs and data are kept after a failure, or always. */
  readonly keep: string
  readonly keepsAlways: boolean
  report(line: string): void
}

export interface Outcome {
  readonly ledger: Ledger
  readonly verdict: Verdict
  /** How often each fault struck. */
  readonly struck: ReadonlyMap<string, number>
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
  readonly #ledger: Ledger
  readonly #load: Load
  readonly #struck = new Map<string, number>()
  readonly #startedAt = performance.now()

  constructor(stage: Stage, options: RunOptions) {
    this.#stage = stage
    this.#options = options
    this.#ledger = new Ledger(options.seed)
    const ports = stage.ingests.map(({ port }) => port)
    this.#load = new Load(ports, this.#ledger, new Random(`${options.seed} load`))
  }

  async play(): Promise<Outcome> {
    await this.#begin()
    const faults = faultsOf(this.#stage).filter(({ name }) => this.#isWanted(name))
    for (let round = 1; round <= this.#options.rounds; round++) await this.#playRound(round, faults)
    await this.#load.stop()
    this.#report('the load has ended: waiting until all is archived')
    const leftOver = await this.#drainAndStop()
    const { dead } = await this.#stage.queued()
    const verdict = await audit(this.#stage.store, this.#ledger)
    const findings = [...leftOver, ...this.#findings(verdict, dead)]
    const seconds = Math.round((performance.now() - this.#startedAt) / 1_000)
    return { ledger: this.#ledger, verdict, struck: this.#struck, findings, seconds }
  }

  async #begin(): Promise<void> {
    const random = new Random(`${this.#options.seed} begin`)
    for (const program of this.#stage.programs)
      program.start(program.role === 'archive' ? batchSettings(random) : {})
    await Promise.all(this.#stage.programs.map(program => program.ready()))
  }

  async #playRound(round: number, faults: readonly Fault[]): Promise<void> {
    const random = new Random(`${this.#options.seed} round ${round}`)
    this.#load.start(paceOf(random, this.#options.rate))
    const chosen = choose(random, faults)
    this.#report(`round ${round}: ${chosen.map(({ name }) => name).join(', ')}`)
    const strikes = chosen.map((fault, index) => {
      const own = new Random(`${this.#options.seed} round ${round} fault ${index}`)
      return this.#strike(fault, own)
    })
    await Promise.all(strikes)
    await sleep(random.between(0, REST_MS_MAX))
  }

  async #strike(fault: Fault, random: Random): Promise<void> {
    await sleep(random.between(0, FAULT_BEGINS_MS_MAX))
    this.#stage.note(`${fault.name} begins: ${nameOf(fault)}`)
    await fault.strike(random)
    this.#stage.note(`${fault.name} is over: ${nameOf(fault)}`)
    this.#struck.set(fault.name, (this.#struck.get(fault.name) ?? 0) + 1)
  }

  /** Resolves, when all is archived and no process runs any more, to what still waits when time is up. */
  async #drainAndStop(): Promise<string[]> {
    const deadline = performance.now() + DRAIN_MS_MAX
    for (;;) {
      const leftOver = await this.#drain(deadline)
      await Promise.all(this.#stage.programs.map(program => program.stop()))
      const { events } = await this.#stage.queued()
      if (events === 0 || leftOver.length > 0) return leftOver
      // What an archiver held, and gave back because it was not given the time to archive it.
      this.#report(`${events} events came back to the queue`)
      await this.#begin()
    }
  }

  async #drain(deadline: number): Promise<string[]> {
    let waiting = ''
    for (let emptyPolls = 0; emptyPolls < DRAINED_POLLS; ) {
      if (performance.now() > deadline) return [`not archived within ${DRAIN_MS_MAX} ms: ${waiting}`]
      const { events } = await this.#stage.queued()
      const spooled = this.#stage.ingests.map(ingest => this.#stage.spooled(ingest))
      const isEmpty = events === 0 && spooled.every(count => count === 0)
      waiting = `${events} messages on the queue, ${spooled.join(' and ')} in the spools`
      emptyPolls = isEmpty ? emptyPolls + 1 : 0
      if (!isEmpty) this.#report(waiting)
      await sleep(DRAIN_POLL_MS)
    }
    return []
  }

  #findings({ doubled, missing, strange, unreadable }: Verdict, dead: number): string[] {
    return [
      ...missing.map(({ ordinal, messageId }) => `missing: event ${ordinal}, id ${messageId}`),
      ...doubled.map(
        ({ ordinal, messageId, places }) =>
          `doubled: event ${ordinal}, id ${messageId}, in ${places.join(' and ')}`,
      ),
      ...strange.map(each => `never sent like this: ${each}`),
      ...unreadable.map(each => `unreadable: ${each}`),
      ...(dead === 0 ? [] : [`dead letters: ${dead}`]),
      ...this.#stage.programs.flatMap(({ complaints }) => complaints),
    ]
  }

  #isWanted(name: string): boolean {
    const { only } = this.#options
    return only.length === 0 || only.some(part => name.includes(part))
  }

  #report(line: string): void {
    this.#stage.note(line)
    const { size, acknowledged } = this.#ledger
    this.#options.report(`${line} (${size} sent, ${acknowledged} acknowledged)`)
  }
}

function paceOf(random: Random, rate: number): Pace {
  // A batch of these is uploaded in parts.
  if (random.chance(HEAVY_SHARE))
    return { perSecond: Math.ceil(rate / 20), bytesMin: 50_000, bytesMax: 150_000 }
  return { perSecond: rate, bytesMin: 20, bytesMax: 400 }
}

/** Some faults, no two of which are done to the same thing. */
function choose(random: Random, faults: readonly Fault[]): Fault[] {
  const chosen: Fault[] = []
  const count = random.between(1, FAULTS_MAX)
  while (chosen.length < count) {
    const taken = new Set(chosen.flatMap(({ on }) => on))
    const free = faults.filter(({ on }) => !on.some(each => taken.has(each)))
    if (free.length === 0) break
    chosen.push(random.pickWeighted(free))
  }
  return chosen
}

function nameOf({ on }: Fault): string {
  return on.map(each => ('name' in each ? each.name : each.constructor.name)).join(', ')
}
