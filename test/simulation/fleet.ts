/** Runs schedules in several worker processes. */

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { WorkerCounts, WorkerFinding, WorkerMessage, WorkerOrder } from './worker.ts'

export interface FleetOptions {
  readonly seed: string
  readonly schedules: number
  readonly seconds: number
  readonly workers: number
  /** Each worker ends after this many findings. */
  readonly findingsMax: number
  readonly found?: (finding: WorkerFinding) => void
  readonly progressed?: (counts: WorkerCounts) => void
}

export interface FleetResult {
  readonly counts: WorkerCounts
  /** How often each fault struck, and how often the product logged each sentence. */
  readonly seen: ReadonlyMap<string, number>
  readonly findings: readonly WorkerFinding[]
  readonly seconds: number
}

/** @throws if a worker ends before it is done */
export async function runFleet(options: FleetOptions): Promise<FleetResult> {
  const counts: WorkerCounts = { schedules: 0, steps: 0, requests: 0, events: 0, objects: 0, virtualMs: 0 }
  const findings: WorkerFinding[] = []
  const seen = new Map<string, number>()
  const startedAt = performance.now()
  const received = (message: WorkerMessage): void => {
    if ('finding' in message) {
      findings.push(message.finding)
      options.found?.(message.finding)
    } else if ('counts' in message) {
      for (const [name, value] of Object.entries(message.counts)) counts[name as keyof WorkerCounts] += value
      for (const [what, times] of message.seen) seen.set(what, (seen.get(what) ?? 0) + times)
      options.progressed?.(counts)
    }
  }
  const { seed, schedules, seconds, findingsMax, workers } = options
  const orders = Array.from({ length: workers }, (_, first) => ({
    seed,
    first,
    step: workers,
    schedules,
    seconds,
    findingsMax,
  }))
  await Promise.all(orders.map(order => runWorker(order, received)))
  return { counts, seen, findings, seconds: (performance.now() - startedAt) / 1000 }
}

function runWorker(order: WorkerOrder, received: (message: WorkerMessage) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('./worker.ts', import.meta.url)), { execArgv: ['--import=tsx'] })
    let isDone = false
    child.on('message', (message: WorkerMessage) => {
      if ('isDone' in message) isDone = true
      received(message)
    })
    child.on('error', reject)
    child.on('exit', code => {
      if (isDone) resolve()
      else
        reject(
          new Error(`A worker of the simulation ended with ${code}, on seeds ${order.seed}-${order.first} …`),
        )
    })
    child.send(order)
  })
}

export function findingText({ seed, texts, leftOut, left }: WorkerFinding): string {
  const without = leftOut.length === 0 ? '' : ` --without '${leftOut.join(',')}'`
  return [
    `seed ${seed}`,
    ...texts.map(text => `  ${text}`),
    '  with',
    ...left.map(each => `    ${each}`),
    `  again: npm run test:simulation -- --trace --seed ${seed}${without}`,
  ].join('\n')
}

/** One line for each fault that struck, and for each sentence that the product logged. */
export function seenText({ seen }: FleetResult): string {
  return [...seen]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, times]) => `${String(times).padStart(7)}  ${what}`)
    .join('\n')
}

export function countsText({ counts, seconds }: FleetResult): string {
  const { schedules, requests, events, objects, steps, virtualMs } = counts
  const rate = (schedules / seconds).toFixed(1)
  return (
    `${schedules} schedules in ${seconds.toFixed(0)} s (${rate}/s): ${steps} steps, ${requests} requests, ` +
    `${events} events in ${objects} objects, ${Math.round(virtualMs / 3_600_000)} hours of virtual time`
  )
}
