import { connect } from 'node:net'
import { parseResponses, type RawResponse } from '../plugins/raw-http.ts'
import type { Attack } from './attack.ts'

export type Answer = RawResponse

/** Answered last, so that whoever waits for its answer has all that come before it. */
const LAST_REQUEST = 'GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'
const AGAIN_MS = 3_000

/**
 * Sends it on a connection of its own. Resolves to all answers once the server has closed that, or to
 * undefined if it does not in time.
 */
export function answersTo(
  port: number,
  { bytes, ending }: Attack,
  timeoutMs: number,
): Promise<Answer[] | undefined> {
  return new Promise(resolve => {
    let received = ''
    const socket = connect(port, '127.0.0.1').setEncoding('latin1')
    const timer = setTimeout(() => {
      resolve(undefined)
      socket.destroy()
    }, timeoutMs)
    socket.on('data', (text: string) => {
      received += text
    })
    // A server that cuts a connection may reset it.
    socket.on('error', () => {})
    // What was to be the last request may have become the rest of a body.
    const again = setInterval(() => ending === 'request' && socket.write(LAST_REQUEST), AGAIN_MS)
    socket.once('close', () => {
      clearTimeout(timer)
      clearInterval(again)
      resolve(parseResponses(received))
    })
    if (ending === 'request') socket.write(Buffer.concat([bytes, Buffer.from(LAST_REQUEST)]))
    else if (ending === 'end') socket.end(bytes)
    else socket.write(bytes, () => socket.resetAndDestroy())
  })
}
