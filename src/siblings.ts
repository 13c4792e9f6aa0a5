/**
 * How the processes behind one port answer as one: what one of them is asked, all are asked.
 *
 *     worker ──ask──► primary ──question──► every worker
 *     worker ◄─answers── primary ◄──answer── every worker
 *
 * In a process that is no worker the only one to be asked is that process.
 */

import cluster, { type Worker } from 'node:cluster'

/** A worker that has not answered by then is left out: it is ending, or stuck. */
const ANSWER_MS_MAX = 2_000

type Message =
  | { readonly kind: 'ask' | 'question'; readonly id: number; readonly question: string }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'answers'; readonly id: number; readonly values: unknown[] }

const KINDS = new Set<unknown>(['ask', 'question', 'answer', 'answers'])

function isMessage(message: unknown): message is Message {
  return KINDS.has((message as { kind?: unknown } | null)?.kind)
}

export class Siblings {
  readonly #answerers = new Map<string, () => Promise<unknown>>()
  readonly #asked = new Map<number, (values: unknown[]) => void>()
  #id = 0

  constructor() {
    if (cluster.isWorker) process.on('message', this.#hear)
  }

  /** Says how this process answers a question. What it answers is sent as JSON. */
  answer(question: string, answerer: () => Promise<unknown>): void {
    this.#answerers.set(question, answerer)
  }

  /** The answers of all processes that could give one, at least that of this one. */
  async ask(question: string): Promise<[unknown, ...unknown[]]> {
    const values = cluster.worker?.isConnected() ? await this.#askPrimary(question) : []
    const [first, ...others] = values
    return first === undefined ? [await this.#answerers.get(question)?.()] : [first, ...others]
  }

  close(): void {
    process.off('message', this.#hear)
    for (const resolve of this.#asked.values()) resolve([])
  }

  #askPrimary(question: string): Promise<unknown[]> {
    const id = this.#id++
    return new Promise(resolve => {
      const answered = (values: unknown[]) => {
        clearTimeout(patience)
        this.#asked.delete(id)
        resolve(values)
      }
      const patience = setTimeout(() => answered([]), 2 * ANSWER_MS_MAX)
      this.#asked.set(id, answered)
      tell({ kind: 'ask', id, question })
    })
  }

  readonly #hear = (message: unknown): void => {
    if (!isMessage(message)) return
    if (message.kind === 'answers') this.#asked.get(message.id)?.(message.values)
    if (message.kind === 'question') void this.#answer(message.id, message.question)
  }

  async #answer(id: number, question: string): Promise<void> {
    // One that cannot answer is left out, as one that does not.
    const value = await this.#answerers
      .get(question)?.()
      .catch(() => undefined)
    tell({ kind: 'answer', id, value })
  }
}

function tell(message: Message): void {
  // The primary may be gone, and then this process ends.
  process.send?.(message, undefined, undefined, () => {})
}

/** In the primary: passes questions on to all workers, and their answers back. */
export function relayQuestions(): void {
  const asked = new Map<number, (value: unknown) => void>()
  let id = 0

  async function askOne(worker: Worker, question: string): Promise<unknown> {
    const own = id++
    let patience: NodeJS.Timeout | undefined
    const value = await new Promise(resolve => {
      asked.set(own, resolve)
      patience = setTimeout(resolve, ANSWER_MS_MAX)
      worker.send({ kind: 'question', id: own, question } satisfies Message, () => {})
    })
    clearTimeout(patience)
    asked.delete(own)
    return value
  }

  async function askAll(asker: Worker, asking: number, question: string): Promise<void> {
    const workers = Object.values(cluster.workers ?? {}).filter(worker => worker?.isConnected())
    const answers = await Promise.all(workers.map(worker => askOne(worker as Worker, question)))
    const values = answers.filter(value => value !== undefined && value !== null)
    if (asker.isConnected()) asker.send({ kind: 'answers', id: asking, values } satisfies Message, () => {})
  }

  cluster.on('message', (worker, message: unknown) => {
    if (!isMessage(message)) return
    if (message.kind === 'ask') void askAll(worker, message.id, message.question)
    if (message.kind === 'answer') asked.get(message.id)?.(message.value)
  })
}
