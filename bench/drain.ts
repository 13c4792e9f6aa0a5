/**
 * Measures how fast a program empties a queue, by the lines that it prints: an archiver logs each batch when it is in
 * the store, and the bare consumer prints a line for each thousand messages.
 */
import { until } from '../test/services/wait.ts'
import { cpuUs, type MemoryFigures, memory } from './process-figures.ts'
import { progress } from './progress.ts'
import type { ServerProcess } from './server-process.ts'
import type { Site } from './site.ts'
import type { Line } from './table.ts'

/** Share of the events that are the warm-up. Neither they nor their time count. */
const WARM_UP_SHARE = 0.2
const DRAIN_MS_MAX = 120_000
/** The queue is empty if no line comes for this multiple of BATCH_AGE_MS_MAX. */
const QUIET_AGES = 2

export interface DrainFigures {
  readonly events: number
  readonly eventsPerSecond: number
  readonly cpuUs: number
  readonly brokerCpuUs: number
  readonly memory: MemoryFigures
}

export interface Drained extends DrainFigures {
  /** Lower bound of the events in the queue at the beginning. */
  readonly filled: number
}

/** Returns the line of the table for the drains of one program. */
export function drainLine(name: string, drains: readonly Drained[], flaws: readonly string[]): Line {
  const total = (of: 'filled' | 'events') => drains.reduce((sum, drained) => sum + drained[of], 0)
  const peaks = drains.map(({ memory }) => memory)
  return {
    name,
    eventsPerSecond: drains.map(({ eventsPerSecond }) => eventsPerSecond),
    cpuUs: drains.map(({ cpuUs }) => cpuUs),
    brokerCpuUs: drains.map(({ brokerCpuUs }) => brokerCpuUs),
    memory: {
      peakMib: Math.max(...peaks.map(({ peakMib }) => peakMib)),
      anonMib: Math.max(...peaks.map(({ anonMib }) => anonMib)),
    },
    counted: `${total('filled')} filled, ${total('events')} taken`,
    flaws,
  }
}

/** A batch, or a thousand messages: the content of a printed line. */
interface Part {
  /** Milliseconds since 1970. */
  readonly time: number
  readonly events: number
  readonly reason: string
}

interface Mark {
  readonly timeMs: number
  readonly events: number
  readonly cpuUs: number
  readonly brokerCpuUs: number
}

/** Waits until a program that was just started has emptied its queue, and stops it. @param expected lower bound of the events */
export async function drain(site: Site, server: ServerProcess, expected: number): Promise<DrainFigures> {
  const { marks, ...taken } = await takeAll(site, server, expected)
  return { ...taken, ...ratesOf(marks, expected) }
}

interface Taken extends Pick<DrainFigures, 'events' | 'memory'> {
  readonly marks: readonly Mark[]
}

/** Like drain(), but without rates, which need many events. */
export async function takeAll(site: Site, server: ServerProcess, expected: number): Promise<Taken> {
  const marks: Mark[] = []
  const taken = whenTaken(site, server, ({ time, reason }, events) => {
    // A batch that closes by its age was idle before, so it must not count in a rate.
    if (reason === 'age') return
    marks.push({ timeMs: time, events, cpuUs: cpuUs(server.pid), brokerCpuUs: cpuUs(site.rabbitmq.pid) })
  })
  const events = await taken(expected)
  const figures = memory(server.pid)
  await server.stop()
  return { events, memory: figures, marks }
}

/**
 * Counts from now on the events that a program takes.
 *
 * @returns a function that resolves to their number, when it is at least `expected` and no more events come
 */
export function whenTaken(
  { options: { batchAgeMs } }: Site,
  server: ServerProcess,
  onPart: (part: Part, events: number) => void = () => {},
): (expected: number) => Promise<number> {
  let events = 0
  let lastAt = performance.now()
  server.onLine(line => {
    const part = finishedPart(line)
    if (part === undefined) return
    events += part.events
    lastAt = performance.now()
    onPart(part, events)
  })
  return async expected => {
    const isDone = () => {
      server.assertRunning()
      return events >= expected && performance.now() - lastAt > QUIET_AGES * batchAgeMs
    }
    await until(`${server.name} has taken ${expected} events`, DRAIN_MS_MAX, isDone).catch((cause: Error) => {
      throw new Error(`${cause.message}; it has taken ${events}. Its output:\n${server.output}`, { cause })
    })
    return events
  }
}

function ratesOf(
  marks: readonly Mark[],
  expected: number,
): Pick<DrainFigures, 'eventsPerSecond' | 'cpuUs' | 'brokerCpuUs'> {
  const from = marks.find(({ events }) => events >= expected * WARM_UP_SHARE)
  const to = marks.at(-1)
  if (from === undefined || to === undefined || to.timeMs <= from.timeMs) {
    // Fewer than two full batches. This is not a failure.
    progress(
      '  Too few events for a rate. Use more events (--archive-events) or smaller batches (--batch-events).',
    )
    return { eventsPerSecond: Number.NaN, cpuUs: Number.NaN, brokerCpuUs: Number.NaN }
  }
  const events = to.events - from.events
  return {
    eventsPerSecond: (events * 1_000) / (to.timeMs - from.timeMs),
    cpuUs: (to.cpuUs - from.cpuUs) / events,
    brokerCpuUs: (to.brokerCpuUs - from.brokerCpuUs) / events,
  }
}

/**
 * Waits until a program logs `message`, from now on.
 * @returns milliseconds from the start of the program to the time in the log line
 * @throws Error if the program ends, or does not log it within `msMax`
 */
export async function whenLogged(server: ServerProcess, message: string, msMax: number): Promise<number> {
  let time: number | undefined
  server.onLine(line => {
    if (time === undefined && line.includes(`"msg":"${message}"`)) time = Number(JSON.parse(line).time)
  })
  await until(`${server.name} logs "${message}"`, msMax, () => {
    server.assertRunning()
    return time !== undefined
  }).catch((cause: Error) => {
    throw new Error(`${cause.message}. Its output:\n${server.output}`, { cause })
  })
  return (time as number) - server.startedAt
}

function finishedPart(line: string): Part | undefined {
  if (!line.startsWith('{')) return undefined
  const { time, events, reason } = JSON.parse(line)
  return typeof events === 'number' && reason !== undefined ? { time, events, reason } : undefined
}
