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

export class WorkerMessages {
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

/** Makes one of what workers said that are gone, `departed`, and what one more of them said last. */
export type Keep = (departed: unknown, last: unknown) => Promise<unknown>

/**
 * In the primary: passes questions on to all workers, and their answers back.
 *
 * @param keeps for each question whose answers must not be forgotten with a worker that is gone: what is
 * kept of them, which is one more answer. A worker that is too slow is then answered for by what it said last.
 */
export function relayQuestions(keeps: Readonly<Record<string, Keep>> = {}): void {
  new Relay(keeps).listen()
}

class Relay {
  readonly #keeps: Readonly<Record<string, Keep>>
  readonly #asked = new Map<number, (value: unknown) => void>()
  /** The last answers of each worker, by its id, to questions whose answers are kept. */
  readonly #last = new Map<number, Map<string, unknown>>()
  readonly #departed = new Map<string, Promise<unknown>>()
  #id = 0

  constructor(keeps: Readonly<Record<string, Keep>>) {
    this.#keeps = keeps
  }

  listen(): void {
    cluster.on('message', (worker, message: unknown) => {
      if (!isMessage(message)) return
      if (message.kind === 'ask') void this.#askAll(worker, message.id, message.question)
      if (message.kind === 'answer') this.#asked.get(message.id)?.(message.value)
    })
    cluster.on('exit', worker => this.#depart(worker))
  }

  async #askAll(asker: Worker, asking: number, question: string): Promise<void> {
    const workers = Object.values(cluster.workers ?? {}).filter(worker => worker?.isConnected())
    const answers = await Promise.all(workers.map(worker => this.#askOne(worker as Worker, question)))
    const all = [...answers, await this.#departed.get(question)]
    const values = all.filter(value => value !== undefined && value !== null)
    if (asker.isConnected()) asker.send({ kind: 'answers', id: asking, values } satisfies Message, () => {})
  }

  async #askOne(worker: Worker, question: string): Promise<unknown> {
    const id = this.#id++
    let patience: NodeJS.Timeout | undefined
    const answer = await new Promise(resolve => {
      this.#asked.set(id, resolve)
      patience = setTimeout(resolve, ANSWER_MS_MAX)
      worker.send({ kind: 'question', id, question } satisfies Message, () => {})
    })
    clearTimeout(patience)
    this.#asked.delete(id)
    if (this.#keeps[question] === undefined) return answer
    const last = this.#last.get(worker.id) ?? new Map<string, unknown>()
    if (answer === undefined || answer === null) return last.get(question)
    // One that is gone meanwhile has departed with the answer before this one.
    if (!worker.isDead()) this.#last.set(worker.id, last.set(question, answer))
    return answer
  }

  #depart(worker: Worker): void {
    for (const [question, last] of this.#last.get(worker.id) ?? []) {
      const keep = this.#keeps[question] as Keep
      const before = this.#departed.get(question)
      this.#departed.set(
        question,
        Promise.resolve(before).then(departed => keep(departed, last).catch(() => departed)),
      )
    }
    this.#last.delete(worker.id)
  }
}
