import { Agent, request } from 'node:http'
import type { Test } from 'tap'

/** Clients that post numbered events, one after the other each, for as long as they are answered. */
export class Posts {
  /** The `n` of each event that got 200. */
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

  /** Posts `count` events, each after the last was answered. @throws Error for another answer than 200 */
  async post(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const status = await this.#postNext()
      if (status !== 200) throw new Error(`An event was answered with ${status}`)
    }
  }

  /** Starts clients that stop at the first request which fails, or is refused. */
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
    const status = await this.#send(`event=counted&n=${n}`)
    if (status === 200) this.taken.push(n)
    return status
  }

  /** Resolves to the status of a complete answer. */
  #send(form: string): Promise<number> {
    const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': form.length }
    return new Promise((resolve, reject) => {
      const sent = request(
        `${this.#url}/api/t`,
        { method: 'POST', agent: this.#agent, headers },
        response => {
          response.on('error', reject).resume()
          response.on('end', () => resolve(response.statusCode ?? 0))
        },
      )
      sent.on('error', reject).end(form)
    })
  }
}
