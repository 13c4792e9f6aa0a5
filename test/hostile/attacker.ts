import { connect } from 'node:net'
import { parseResponses, type RawResponse } from '../plugins/raw-http.ts'
import type { Attack } from './attack.ts'

export type Answer = RawResponse

/** Its answer comes last and closes the connection. */
const LAST_REQUEST = 'GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'
const AGAIN_MS = 3_000

/**
 * Sends an attack on its own connection. Resolves to all answers when the server has closed the connection, or to
 * undefined if the server does not close it within `timeoutMs`.
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
    // Sent again: the server may have read the last request as the rest of a body.
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
