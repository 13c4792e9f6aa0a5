/** Archivers that share a queue and an archive, and the batches that each has archived. */
import { until } from '../test/services/wait.ts'
import { cpuUs, type MemoryFigures, memory } from './process-figures.ts'
import type { ServerProcess } from './server-process.ts'

const DRAIN_MS_MAX = 300_000
const QUIET_AGES = 3
/** Share of the events that are the warm-up. Neither they nor their time count. */
const WARM_UP_SHARE = 0.2

export interface ArchivedBatch {
  /** Milliseconds since 1970. */
  readonly time: number
  readonly key: string
  readonly events: number
  /** Why the batch was closed: `events` if it was full, `age` if not. */
  readonly reason: string
}

export interface FleetFigures {
  readonly events: number
  readonly eventsPerSecond: number
  /** CPU time of all archivers for an event. */
  readonly cpuUs: number
  readonly memory: MemoryFigures
  /** Events of each archiver. */
  readonly shares: readonly number[]
  readonly commits: number
  readonly conflicts: number
  readonly commitsPerSecond: number
}

export class Fleet {
  readonly servers: readonly ServerProcess[]
  /** The batches of each server. */
  readonly batches: readonly ArchivedBatch[][]

  constructor(servers: readonly ServerProcess[]) {
    this.servers = servers
    this.batches = servers.map(() => [])
    for (const [n, server] of servers.entries()) {
      server.onLine(line => {
        if (line.includes('"msg":"Batch archived."')) this.batches[n]?.push(JSON.parse(line))
      })
    }
  }

  get events(): number {
    return this.batches.flat().reduce((sum, { events }) => sum + events, 0)
  }

  /** Resolves when at least `expected` events are archived and no more batches come. @throws Error after five minutes */
  async whenArchived(expected: number, batchAgeMs: number): Promise<void> {
    await until(`${expected} events are archived`, DRAIN_MS_MAX, () => {
      const last = Math.max(...this.batches.flat().map(({ time }) => time))
      return this.events >= expected && Date.now() - last > QUIET_AGES * batchAgeMs
    }).catch((cause: Error) => {
      const outputs = this.servers.map(({ output }) => output.slice(-2_000)).join('\n')
      throw new Error(
        `${cause.message}; ${this.events} are archived. The output of the archivers:\n${outputs}`,
        { cause },
      )
    })
  }

  /** Stops the archivers, and resolves to the figures since their start. */
  async end(): Promise<FleetFigures> {
    const cpu = this.servers.reduce((sum, { pid }) => sum + cpuUs(pid), 0)
    const memories = this.servers.map(({ pid }) => memory(pid))
    const metrics = await Promise.all(this.servers.map(metricsOf))
    for (const server of this.servers) await server.stop()
    const all = this.batches.flat().sort((a, b) => a.time - b.time)
    const sum = (name: string) => metrics.reduce((total, text) => total + metric(text, name), 0)
    const [first, last] = [all[0]?.time ?? 0, all.at(-1)?.time ?? 0]
    const commits = sum('frequency_log_commits_total')
    return {
      events: this.events,
      eventsPerSecond: rateOf(all, this.events),
      cpuUs: cpu / this.events,
      memory: {
        peakMib: Math.max(...memories.map(({ peakMib }) => peakMib)),
        anonMib: Math.max(...memories.map(({ anonMib }) => anonMib)),
      },
      shares: this.batches.map(each => each.reduce((total, { events }) => total + events, 0)),
      commits,
      conflicts: sum('frequency_log_conflicts_total'),
      commitsPerSecond: (commits * 1_000) / (last - first),
    }
  }
}

/** Returns events a second, from the end of the warm-up to the last full batch; NaN if there is no such time. */
function rateOf(all: readonly ArchivedBatch[], total: number): number {
  let events = 0
  const marks = all.map(({ time, events: each, reason }) => {
    events += each
    return { time, events, reason }
  })
  const from = marks.find(mark => mark.events >= total * WARM_UP_SHARE)
  const to = marks.findLast(({ reason }) => reason !== 'age')
  if (from === undefined || to === undefined || to.time <= from.time) return Number.NaN
  return ((to.events - from.events) * 1_000) / (to.time - from.time)
}

async function metricsOf(server: ServerProcess): Promise<string> {
  const response = await fetch(`${await server.listening()}/metrics`)
  return await response.text()
}

function metric(text: string, name: string): number {
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1] ?? 0)
}
