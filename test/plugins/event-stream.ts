/** A client of the live page's stream. */
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import { until } from '../services/wait.ts'

const MESSAGE_MS_MAX = 30_000

interface ShownEvents {
  readonly events: readonly { readonly ack: string; readonly json: string }[]
  readonly omitted: number
}

export interface LiveState {
  readonly counts: Readonly<Record<'in' | 'confirmed' | 'spooled' | 'archived', number>>
  readonly oldestAt?: number
  readonly batch?: { readonly events: number }
  readonly objects: readonly { readonly key: string; readonly events: number; readonly storedBytes: number }[]
  readonly refused: { readonly total: number; readonly last: readonly { readonly code: string }[] }
  readonly takesEvents: boolean
  readonly troubles: readonly { readonly text: string }[]
}

export class EventStream {
  /** The received events, as JSON. */
  readonly events: string[] = []
  omitted = 0
  hello: Record<string, unknown> | undefined
  state: LiveState | undefined
  isOpen = true
  readonly #response: IncomingMessage
  #text = ''

  constructor(response: IncomingMessage) {
    this.#response = response
    response.setEncoding('utf8').on('data', (text: string) => this.#read(text))
    response.once('close', () => {
      this.isOpen = false
    })
    response.on('error', () => {})
  }

  async shows(what: string, isSo: () => boolean): Promise<void> {
    await until(`the stream shows: ${what}`, MESSAGE_MS_MAX, isSo)
  }

  close(): void {
    this.#response.destroy()
  }

  #read(text: string): void {
    const blocks = (this.#text + text).split('\n\n')
    this.#text = blocks.pop() ?? ''
    for (const block of blocks) {
      const [, name, json = ''] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? []
      if (name === 'hello') this.hello = JSON.parse(json)
      else if (name === 'state') this.state = JSON.parse(json)
      else if (name === 'events') this.#show(JSON.parse(json))
      else throw new Error(`Not a message of the stream: ${block}`)
    }
  }

  #show({ events, omitted }: ShownEvents): void {
    this.events.push(...events.map(({ json }) => json))
    this.omitted += omitted
  }
}

/** Resolves when the stream has begun. @throws Error if the server does not answer 200 */
export async function openStream(
  t: Test,
  url: string,
  { query = '', headers = {} }: { query?: string; headers?: Record<string, string> } = {},
): Promise<EventStream> {
  const request = get(`${url}/ui/stream${query}`, { headers, agent: false })
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  t.teardown(() => response.destroy())
  if (response.statusCode !== 200) throw new Error(`The stream is answered with ${response.statusCode}`)
  const stream = new EventStream(response)
  await stream.shows('hello and the state', () => stream.state !== undefined)
  return stream
}
