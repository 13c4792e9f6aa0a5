import { Agent } from 'node:http'
import type { Test } from 'tap'
import { post } from '../helpers/post.ts'

/** Clients that post numbered events. Each client waits for an answer before it posts the next event. */
export class Posts {
  /** The `n` of each event that was answered with 200. */
  readonly taken: number[] = []
  readonly #agent: Agent
  readonly #url: string
  #next = 0
  #clients: Promise<unknown> = Promise.resolve()

  constructor(t: Test, url: string) {
    this.#url = url
    this.#agent = new Agent({ keepAlive: true })
    t.teardown(() => this.#agent.destroy())
  }

  /** Posts `count` events one after the other. @throws Error if the status of an answer is not 200 */
  async post(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const status = await this.#postNext()
      if (status !== 200) throw new Error(`An event was answered with ${status}`)
    }
  }

  /** Starts clients. Each stops when a request fails, or the status of an answer is not 200. */
  start(clients: number): void {
    this.#clients = Promise.all(Array.from({ length: clients }, () => this.#postUntilRefused()))
  }

  /** Resolves when all clients have stopped. */
  async stopped(): Promise<void> {
    await this.#clients
  }

  async #postUntilRefused(): Promise<void> {
    while ((await this.#postNext().catch(() => undefined)) === 200);
  }

  async #postNext(): Promise<number> {
    const n = this.#next++
    const status = await post(`${this.#url}/api/t`, `event=counted&n=${n}`, {
      contentType: 'application/x-www-form-urlencoded',
      agent: this.#agent,
    })
    if (status === 200) this.taken.push(n)
    return status
  }
}
