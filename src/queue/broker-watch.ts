import { setTimeout as delay } from 'node:timers/promises'
import type { Queue } from './queue.ts'
import type { Waiting } from './queue-stats.ts'

/** An answer is good for so long: whoever asks more often does not ask the broker. */
const FRESH_MS = 1_000
const ANSWER_MS_MAX = 2_000

/** Asks what waits on the broker; undefined without a broker, and while it cannot be asked or does not answer. */
export function brokerWatch(queue: Pick<Queue, 'waiting'>): () => Promise<Waiting | undefined> {
  let askedAt = Number.NEGATIVE_INFINITY
  let answer: Promise<Waiting | undefined> = Promise.resolve(undefined)
  return () => {
    if (performance.now() - askedAt > FRESH_MS) {
      askedAt = performance.now()
      answer = ask(queue)
    }
    return answer
  }
}

async function ask(queue: Pick<Queue, 'waiting'>): Promise<Waiting | undefined> {
  const answered = new AbortController()
  const timeout = delay(ANSWER_MS_MAX, undefined, { signal: answered.signal }).catch(() => undefined)
  // The broker is away, or went while it was asked: its own trouble says so, and what is not known is not shown.
  const waiting = queue.waiting().catch(() => undefined)
  return await Promise.race([waiting, timeout]).finally(() => answered.abort())
}
