import { Agent, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { progress } from './progress.ts'

const BURST_EVERY_MS = 500
const REQUEST_MS_MAX = 60_000
const FORM = 'event=sent_a_message&user_id=xyz'
const HEADERS = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': FORM.length }

export interface LoadOptions {
  /** Servers that share each burst. */
  readonly urls: readonly string[]
  readonly bursts: number
  /** Requests of a burst, each on a connection of its own. */
  readonly clients: number
}

export interface LoadResult {
  /** How many answers there were of each kind: of a status, or of an error's code. */
  readonly answers: ReadonlyMap<number | string, number>
  /** Of all answers, ascending. */
  readonly latenciesMs: readonly number[]
}

/** Sends bursts half a second apart; a burst that takes longer delays the next one. */
export async function sendBursts({ urls, bursts, clients }: LoadOptions): Promise<LoadResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: clients })
  const answers = new Map<number | string, number>()
  const latenciesMs: number[] = []

  async function send(url: string): Promise<void> {
    const startedAt = performance.now()
    const answer = await post(url, agent).catch((error: NodeJS.ErrnoException) => error.code ?? error.message)
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

/** Resolves to the status, when the answer is complete. */
function post(url: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      { method: 'POST', agent, headers: HEADERS, timeout: REQUEST_MS_MAX },
      response => {
        response.on('error', reject).on('end', () => resolve(response.statusCode ?? 0))
        response.resume()
      },
    )
    sent.on('timeout', () => sent.destroy(new Error('no answer')))
    sent.on('error', reject).end(FORM)
  })
}
