/** An HTTP client that reports the outcome of each request. */
import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Body } from './event-body.ts'

const ANSWER_MS_MAX = 8_000

export interface Answer {
  /** HTTP status; undefined if no answer came. */
  readonly status: number | undefined
  /** Where the events are durable: `broker` or `disk`. */
  readonly durability: string
  /** Whether the server refused some events of a batch. */
  readonly isPartial: boolean
  /** Whether the request certainly did not reach the server. */
  readonly isUnsent: boolean
}

const NONE: Answer = { status: undefined, durability: '', isPartial: false, isUnsent: false }

export class Client {
  readonly #agent: Agent
  #inFlight = 0

  constructor(connectionsMax: number) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: connectionsMax })
  }

  get inFlight(): number {
    return this.#inFlight
  }

  post(port: number, writeKey: string, { path, type, bytes }: Body): Promise<Answer> {
    this.#inFlight++
    return new Promise<Answer>(resolve => {
      const headers = { 'content-type': type, 'content-length': bytes.length, 'x-write-key': writeKey }
      const posting = request({ port, host: '127.0.0.1', method: 'POST', path, agent: this.#agent, headers })
      const timer = setTimeout(() => posting.destroy(), ANSWER_MS_MAX)
      posting.once('response', answer => {
        const durability = String(answer.headers['frequency-ack'])
        text(answer).then(
          body =>
            resolve({
              ...NONE,
              status: answer.statusCode,
              durability,
              isPartial: body.includes('"refused":[{'),
            }),
          () => resolve(NONE),
        )
      })
      posting.once('close', () => {
        clearTimeout(timer)
        // By the next turn a complete answer has resolved the promise already.
        setImmediate(() => resolve(NONE))
      })
      posting.once('error', (error: NodeJS.ErrnoException) =>
        resolve({ ...NONE, isUnsent: error.code === 'ECONNREFUSED' }),
      )
      posting.end(bytes)
    }).finally(() => this.#inFlight--)
  }

  close(): void {
    this.#agent.destroy()
  }
}
