import { Agent } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { post } from '../test/helpers/post.ts'
import { progress } from './progress.ts'

const BURST_EVERY_MS = 500
const REQUEST_MS_MAX = 60_000
const FORM = 'event=sent_a_message&user_id=xyz'
const FORM_TYPE = 'application/x-www-form-urlencoded'

export interface LoadOptions {
  /** Servers to which each burst is sent, in turns. */
  readonly urls: readonly string[]
  readonly bursts: number
  /** Requests of a burst. Each has its own connection. */
  readonly clients: number
}

export interface LoadResult {
  /** Number of answers by their status, and of failed requests by their error code. */
  readonly answers: ReadonlyMap<number | string, number>
  /** Latency of each request, ascending. */
  readonly latenciesMs: readonly number[]
}

/** Sends a burst each half second, or later if the one before is not answered yet. */
export async function sendBursts({ urls, bursts, clients }: LoadOptions): Promise<LoadResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: clients })
  const answers = new Map<number | string, number>()
  const latenciesMs: number[] = []

  async function send(url: string): Promise<void> {
    const startedAt = performance.now()
    const sent = post(url, FORM, { contentType: FORM_TYPE, agent, timeoutMs: REQUEST_MS_MAX })
    const answer = await sent.catch((error: NodeJS.ErrnoException) => error.code ?? error.message)
    latenciesMs.push(performance.now() - startedAt)
    answers.set(answer, (answers.get(answer) ?? 0) + 1)
  }

  for (let burst = 1; burst <= bursts; burst++) {
    const nextBurst = burst < bursts ? delay(BURST_EVERY_MS) : undefined
    await Promise.all(Array.from({ length: clients }, (_, i) => send(`${urls[i % urls.length]}/api/t`)))
    progress(`Burst ${burst} of ${bursts}: ${answers.get(200) ?? 0} of ${burst * clients} answers are 200`)
    await nextBurst
  }
  agent.destroy()
  return { answers, latenciesMs: latenciesMs.sort((a, b) => a - b) }
}
