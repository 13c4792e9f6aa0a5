/** One POST over node:http, on an agent if there is one: fetch() cannot use an agent. */
import { type Agent, request } from 'node:http'

export interface PostOptions {
  readonly contentType: string
  /** @default a new connection, which is closed after the answer */
  readonly agent?: Agent
  /** Limit of idle time of the connection. @default none */
  readonly timeoutMs?: number
}

/**
 * Resolves to the status when the answer is complete.
 * @throws Error if the connection fails or is idle for longer than `timeoutMs`
 */
export function post(url: string, body: string, options: PostOptions): Promise<number> {
  const { contentType, agent = false, timeoutMs } = options
  const headers = { 'content-type': contentType, 'content-length': Buffer.byteLength(body) }
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      { method: 'POST', agent, headers, ...(timeoutMs !== undefined && { timeout: timeoutMs }) },
      response => {
        response.on('error', reject).on('end', () => resolve(response.statusCode ?? 0))
        response.resume()
      },
    )
    sent.on('timeout', () => sent.destroy(new Error('no answer')))
    sent.on('error', reject).end(body)
  })
}
