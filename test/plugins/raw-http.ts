import { connect, type Socket } from 'node:net'
import type { Test } from 'tap'

export interface RawResponse {
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: string
}

/** A connection on which a test writes each byte itself, valid HTTP or not. */
export class RawClient {
  readonly socket: Socket
  /** Resolves when the connection is closed or reset. */
  readonly closed: Promise<void>
  #received = ''

  constructor(t: Test, port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.setEncoding('latin1')
    this.socket.on('data', (text: string) => {
      this.#received += text
    })
    // A server that cuts a connection may reset it. `closed` resolves then as well.
    this.socket.on('error', () => {})
    this.closed = new Promise(resolve => this.socket.once('close', () => resolve()))
    t.teardown(() => this.socket.destroy())
  }

  send(bytes: string | Buffer): this {
    this.socket.write(bytes)
    return this
  }

  /** Writes one byte every `everyMs`, until all are written or the connection is closed. */
  trickle(bytes: string, everyMs: number): this {
    let sent = 0
    const timer = setInterval(() => {
      if (this.socket.destroyed || sent === bytes.length) clearInterval(timer)
      else this.socket.write(bytes.charAt(sent++))
    }, everyMs)
    this.socket.once('close', () => clearInterval(timer))
    return this
  }

  /** Resolves to the responses so far, once there are `count`. @throws Error if the connection closes before. */
  async responses(count: number): Promise<RawResponse[]> {
    let isClosed = false
    void this.closed.then(() => {
      isClosed = true
    })
    for (;;) {
      const complete = parseResponses(this.#received)
      if (complete.length >= count) return complete
      if (isClosed) throw new Error(`The connection closed after ${complete.length} responses`)
      await Promise.race([new Promise(resolve => this.socket.once('data', resolve)), this.closed])
    }
  }

  /** Resolves to all responses, once the server has closed the connection. */
  async responsesUntilClosed(): Promise<RawResponse[]> {
    await this.closed
    return parseResponses(this.#received)
  }
}

/** The complete responses in the bytes. All must have a content-length, as this server's have. */
export function parseResponses(bytes: string): RawResponse[] {
  const responses: RawResponse[] = []
  let rest = bytes
  for (;;) {
    const headEnd = rest.indexOf('\r\n\r\n')
    if (headEnd === -1) return responses
    const [statusLine = '', ...headerLines] = rest.slice(0, headEnd).split('\r\n')
    const headers = Object.fromEntries(
      headerLines.map(line => [line.split(':', 1)[0]?.toLowerCase(), line.replace(/^[^:]*:\s*/, '')]),
    )
    const length = Number(headers['content-length'] ?? 0)
    if (rest.length < headEnd + 4 + length) return responses
    const body = Buffer.from(rest.slice(headEnd + 4, headEnd + 4 + length), 'latin1').toString()
    responses.push({ status: Number(statusLine.split(' ')[1]), headers, body })
    rest = rest.slice(headEnd + 4 + length)
  }
}

/** The bytes of `POST /api/t` with a JSON body. */
export function postOf(body: string, headers = 'content-type: application/json'): string {
  return `POST /api/t HTTP/1.1\r\nhost: localhost\r\n${headers}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}
