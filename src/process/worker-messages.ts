/**
 * Lets the processes behind one port answer as one: a question to one worker goes to all workers.
 *
 *     worker ──ask──► primary ──question──► every worker
 *     worker ◄─answers── primary ◄──answer── every worker
 *
 * A process that is not a cluster worker asks only itself.
 */

import cluster, { type Worker } from 'node:cluster'

/** A worker that does not answer in time is left out: it is ending, or stuck. */
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
  readonly #pending = new Map<number, (values: unknown[]) => void>()
  readonly #isRelayed: boolean
  #id = 0

  /** @param hasRelay whether the primary, if there is one, calls `relayQuestions()` */
  constructor(hasRelay = true) {
    this.#isRelayed = hasRelay && cluster.isWorker
    if (this.#isRelayed) process.on('message', this.#onMessage)
  }

  /** Registers how this process answers a question. Answers travel as JSON. */
  answer(question: string, answerer: () => Promise<unknown>): void {
    this.#answerers.set(question, answerer)
  }

  /** Resolves to the answers of all processes that answered in time; if none did, to the answer of this process. */
  async ask(question: string): Promise<[unknown, ...unknown[]]> {
    const values = this.#isRelayed && cluster.worker?.isConnected() ? await this.#askPrimary(question) : []
    const [first, ...others] = values
    return first === undefined ? [await this.#answerers.get(question)?.()] : [first, ...others]
  }

  close(): void {
    process.off('message', this.#onMessage)
    for (const resolve of this.#pending.values()) resolve([])
  }

  #askPrimary(question: string): Promise<unknown[]> {
    const id = this.#id++
    return new Promise(resolve => {
      const answered = (values: unknown[]) => {
        clearTimeout(timeout)
        this.#pending.delete(id)
        resolve(values)
      }
      const timeout = setTimeout(() => answered([]), 2 * ANSWER_MS_MAX)
      this.#pending.set(id, answered)
      sendToPrimary({ kind: 'ask', id, question })
    })
  }

  readonly #onMessage = (message: unknown): void => {
    if (!isMessage(message)) return
    if (message.kind === 'answers') this.#pending.get(message.id)?.(message.values)
    if (message.kind === 'question') void this.#answer(message.id, message.question)
  }

  async #answer(id: number, question: string): Promise<void> {
    // A worker that fails to answer is left out, like one that is too slow.
    const value = await this.#answerers
      .get(question)?.()
      .catch(() => undefined)
    sendToPrimary({ kind: 'answer', id, value })
  }
}

function sendToPrimary(message: Message): void {
  // The error is ignored: if the primary has exited, this process ends too.
  process.send?.(message, undefined, undefined, () => {})
}

/** Merges the last answer of an exited worker into `retained`, the merged answers of earlier ones. */
export type MergeAnswers = (retained: unknown, last: unknown) => Promise<unknown>

/**
 * In the primary: passes questions on to all workers, and their answers back.
 *
 * @param merges for each question whose answers outlive their worker: how answers of exited workers are merged.
 * The merged answer is one more answer. A worker that is too slow is then represented by its last answer.
 */
export function relayQuestions(merges: Readonly<Record<string, MergeAnswers>> = {}): void {
  new Relay(merges).listen()
}

class Relay {
  readonly #merges: Readonly<Record<string, MergeAnswers>>
  readonly #pending = new Map<number, (value: unknown) => void>()
  /** By worker id and question: the last answer to each question that has a merge. */
  readonly #last = new Map<number, Map<string, unknown>>()
  /** By question: the merged answers of exited workers. */
  readonly #retained = new Map<string, Promise<unknown>>()
  #id = 0

  constructor(merges: Readonly<Record<string, MergeAnswers>>) {
    this.#merges = merges
  }

  listen(): void {
    cluster.on('message', (worker, message: unknown) => {
      if (!isMessage(message)) return
      if (message.kind === 'ask') void this.#askAll(worker, message.id, message.question)
      if (message.kind === 'answer') this.#pending.get(message.id)?.(message.value)
    })
    cluster.on('exit', worker => this.#retain(worker))
  }

  async #askAll(asker: Worker, asking: number, question: string): Promise<void> {
    const workers = Object.values(cluster.workers ?? {}).filter(worker => worker?.isConnected())
    const answers = await Promise.all(workers.map(worker => this.#askOne(worker as Worker, question)))
    const all = [...answers, await this.#retained.get(question)]
    const values = all.filter(value => value !== undefined && value !== null)
    if (asker.isConnected()) asker.send({ kind: 'answers', id: asking, values } satisfies Message, () => {})
  }

  async #askOne(worker: Worker, question: string): Promise<unknown> {
    const id = this.#id++
    let timeout: NodeJS.Timeout | undefined
    const answer = await new Promise(resolve => {
      this.#pending.set(id, resolve)
      timeout = setTimeout(resolve, ANSWER_MS_MAX)
      worker.send({ kind: 'question', id, question } satisfies Message, () => {})
    })
    clearTimeout(timeout)
    this.#pending.delete(id)
    if (this.#merges[question] === undefined) return answer
    const last = this.#last.get(worker.id) ?? new Map<string, unknown>()
    if (answer === undefined || answer === null) return last.get(question)
    // If the worker has exited meanwhile, its answer before this one is merged already.
    if (!worker.isDead()) this.#last.set(worker.id, last.set(question, answer))
    return answer
  }

  #retain(worker: Worker): void {
    for (const [question, last] of this.#last.get(worker.id) ?? []) {
      const merge = this.#merges[question] as MergeAnswers
      const before = this.#retained.get(question)
      this.#retained.set(
        question,
        Promise.resolve(before).then(retained => merge(retained, last).catch(() => retained)),
      )
    }
    this.#last.delete(worker.id)
  }
}
