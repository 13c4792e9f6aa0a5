import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'

/** Of an answer that are kept. A list of 1,000 refused events is shorter. */
const ANSWER_BYTES_MAX = 1024 * 1024

export interface HttpAnswer {
  readonly status: number
  readonly retryAfter: string | undefined
  readonly location: string | undefined
  readonly text: string
}

export interface HttpPosterOptions {
  readonly headers: Readonly<Record<string, string>>
  /** Of one request, from its start to the end of the answer. */
  readonly msMax: number
  readonly connections: number
}

/** Posts bodies to one URL, on connections that stay open. */
export class HttpPoster {
  readonly #url: URL
  readonly #options: HttpPosterOptions
  readonly #agent: HttpAgent

  constructor(url: URL, options: HttpPosterOptions) {
    this.#url = url
    this.#options = options
    const settings = { keepAlive: true, maxSockets: options.connections, noDelay: true }
    this.#agent = url.protocol === 'https:' ? new HttpsAgent(settings) : new HttpAgent(settings)
  }

  /** @throws Error if there is no whole answer in time */
  async post(body: Buffer): Promise<HttpAnswer> {
    const { headers, msMax } = this.#options
    const request = this.#url.protocol === 'https:' ? requestHttps : requestHttp
    return await new Promise((resolve, reject) => {
      const sent = request(this.#url, {
        method: 'POST',
        agent: this.#agent,
        headers: { ...headers, 'content-length': body.length },
      })
      const late = (): void => void sent.destroy(new Error(`there was no answer in ${msMax / 1_000} s`))
      const timer = setTimeout(late, msMax)
      sent.on('close', () => clearTimeout(timer))
      sent.on('error', reject)
      sent.on('response', response => readAnswer(response).then(resolve, reject))
      sent.end(body)
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

async function readAnswer(response: IncomingMessage): Promise<HttpAnswer> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of response) {
    if (bytes < ANSWER_BYTES_MAX) pieces.push(piece)
    bytes += piece.length
  }
  const { statusCode = 0, headers } = response
  return {
    status: statusCode,
    retryAfter: headers['retry-after'],
    location: headers.location,
    text: Buffer.concat(pieces).toString('utf8', 0, ANSWER_BYTES_MAX),
  }
}
