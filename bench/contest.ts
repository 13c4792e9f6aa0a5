/** Sends the same load to several servers in turns, A B C, A B C, …, after a warm-up of each. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Bodies, type EventCount, eventCount } from './bodies.ts'
import type { QueueContent } from './broker-queue.ts'
import { type LoadFigures, sendLoad } from './load.ts'
import { cpuUs, memory } from './process-figures.ts'
import { progress } from './progress.ts'
import type { ServerProcess } from './server-process.ts'
import type { Site } from './site.ts'
import type { Line } from './table.ts'

const DRAIN_MS = 300

export interface Contender {
  readonly name: string
  readonly server: ServerProcess
  readonly bodies: Bodies
  readonly connections: number
  /** Counts the messages in its queue and removes them, after each round. Without it, the row counts after the last round. */
  readonly count?: () => Promise<QueueContent>
}

interface Round {
  readonly load: LoadFigures
  readonly content: QueueContent | undefined
  readonly cpuUs: number
  readonly brokerCpuUs: number
}

export interface ContestResult {
  readonly line: Line
  /** Events of all rounds and of the warm-up. */
  readonly answered: EventCount
}

export type Send = (contender: Contender, url: string, seconds: number) => Promise<LoadFigures>

const flatOut: Send = ({ bodies, connections }, url, seconds) =>
  sendLoad({ url, bodies: bodies.file, connections, seconds })

/** Resolves to a result for each contender, in the same order. */
export async function contest(
  site: Site,
  contenders: readonly Contender[],
  send: Send = flatOut,
): Promise<ContestResult[]> {
  const { rounds, seconds, warmUpSeconds } = site.options
  const entries: { contender: Contender; url: string; warmUp: Round | undefined; rounds: Round[] }[] = []
  for (const contender of contenders) {
    const url = `${await contender.server.listening()}${contender.bodies.path}`
    const warmUp = () => runRound(site, contender, () => send(contender, url, warmUpSeconds))
    entries.push({ contender, url, warmUp: warmUpSeconds > 0 ? await warmUp() : undefined, rounds: [] })
  }
  for (let n = 1; n <= rounds; n++) {
    for (const { contender, url, rounds: done } of entries) {
      const round = await runRound(site, contender, () => send(contender, url, seconds))
      done.push(round)
      const perSecond = Math.round(
        (round.load.answers * contender.bodies.eventsPerRequest) / round.load.seconds,
      )
      progress(`  ${contender.name}: round ${n} of ${rounds}, ${perSecond} events a second`)
    }
  }
  return entries.map(({ contender, warmUp, rounds: done }) => ({
    line: lineOf(contender, done),
    answered: sumOf(contender, warmUp === undefined ? done : [warmUp, ...done]),
  }))
}

async function runRound(
  site: Site,
  { server, count }: Contender,
  send: () => Promise<LoadFigures>,
): Promise<Round> {
  await site.settle(server)
  const [cpuBefore, brokerBefore] = [cpuUs(server.pid), cpuUs(site.rabbitmq.pid)]
  const load = await send()
  await sleep(DRAIN_MS)
  const [cpuAfter, brokerAfter] = [cpuUs(server.pid), cpuUs(site.rabbitmq.pid)]
  server.assertRunning()
  const content = await count?.()
  return { load, content, cpuUs: cpuAfter - cpuBefore, brokerCpuUs: brokerAfter - brokerBefore }
}

function lineOf(contender: Contender, rounds: readonly Round[]): Line {
  const { name, server, bodies } = contender
  const { eventsPerRequest } = bodies
  const eventsOf = ({ load, content }: Round) => content?.events ?? load.answers * eventsPerRequest
  return {
    name,
    eventsPerSecond: rounds.map(({ load }) => (load.answers * eventsPerRequest) / load.seconds),
    cpuUs: rounds.map(round => round.cpuUs / eventsOf(round)),
    brokerCpuUs: rounds.map(round => round.brokerCpuUs / eventsOf(round)),
    p50Ms: rounds.map(({ load }) => load.p50Ms),
    p99Ms: rounds.map(({ load }) => load.p99Ms),
    memory: memory(server.pid),
    counted: countedOf(contender, rounds),
    flaws: flawsOf(contender, rounds),
  }
}

function sumOf({ bodies, connections }: Contender, rounds: readonly Round[]): EventCount {
  const counts = rounds.map(({ load }) => eventCount(bodies, load.answers, connections))
  return {
    least: counts.reduce((sum, { least }) => sum + least, 0),
    most: counts.reduce((sum, { most }) => sum + most, 0),
  }
}

function countedOf({ bodies }: Contender, rounds: readonly Round[]): string {
  const total = (of: (round: Round) => number) => rounds.reduce((sum, round) => sum + of(round), 0)
  const answered = Math.round(total(({ load }) => load.answers) * bodies.eventsPerRequest)
  const events = total(({ content }) => content?.events ?? 0)
  const messages = total(({ content }) => content?.messages ?? 0)
  if (messages === 0) return `${answered} answered`
  return `${answered} answered, ${events} queued in ${messages} messages`
}

/** Returns a sentence for each count that is wrong, beyond the unanswered requests at the end of a load. */
function flawsOf({ bodies, connections }: Contender, rounds: readonly Round[]): string[] {
  return rounds.flatMap(({ load, content }, n) => {
    const flaws: string[] = []
    const { least, most } = eventCount(bodies, load.answers, connections)
    if (load.errors > 0) flaws.push(`round ${n + 1}: ${load.errors} requests were refused or failed`)
    if (content !== undefined) {
      const { events, miscounted } = content
      if (events < least) flaws.push(`round ${n + 1}: ${least} events answered, ${events} in the queue`)
      if (events > most)
        flaws.push(`round ${n + 1}: ${events} events in the queue, but at most ${most} were sent`)
      if (miscounted > 0) flaws.push(`round ${n + 1}: ${miscounted} messages have a wrong frequency-count`)
    }
    return flaws
  })
}
