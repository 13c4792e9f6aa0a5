import { withTimeLimit } from '../process/time-limit.ts'
import type { Queue } from './queue.ts'
import type { Waiting } from './queue-stats.ts'

/** How long an answer is reused. The broker is asked at most once in this time. */
const FRESH_MS = 1_000
const ANSWER_MS_MAX = 2_000

/**
 * Returns a function that asks how many messages wait on the broker. It resolves to undefined without a broker,
 * and if the broker cannot be asked or does not answer within 2 seconds. It never rejects.
 */
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

function ask(queue: Pick<Queue, 'waiting'>): Promise<Waiting | undefined> {
  // An unreachable broker is reported by `Queue.trouble`. Here its numbers are unknown, and are left out.
  const waiting = queue.waiting().catch(() => undefined)
  return withTimeLimit(waiting, ANSWER_MS_MAX, () => undefined)
}
