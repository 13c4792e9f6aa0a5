/**
 * Who may see the live page.
 *
 * With a token: whoever sends it, in a header. No other site has it, and a browser sends it for none, so
 * nothing else has to be checked; the page itself, without its data, is open, for it is where the token
 * is asked for.
 *
 * Without one: this machine alone. A browser on this machine can be made to ask by any site that it has
 * open, so where it is asked from counts too. The Host must be a name of this machine, which a site with
 * a name that was made to point here (DNS rebinding) cannot pretend. The Origin must be our own, and so
 * must what the browser says of the page that asks (Fetch Metadata). And what a proxy has passed on is
 * not from here, wherever it seems to come from.
 */

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { BlockList, isIPv6 } from 'node:net'
import { UiForbidden, UiTokenWrong } from '../errors.ts'

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

const OWN_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i
const PROXY_HEADERS = ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'via']
const BEARER = /^Bearer +(\S+)$/i

export class Doorkeeper {
  readonly #digest: Buffer | undefined

  /** @param token undefined where only this machine is let in */
  constructor(token: string | undefined) {
    this.#digest = token === undefined ? undefined : digestOf(token)
  }

  /** @throws UiForbidden for who may not even see the page without its data. */
  admit({ headers, socket }: IncomingMessage): void {
    if (this.#digest !== undefined) return
    const isProxied = PROXY_HEADERS.some(name => headers[name] !== undefined)
    if (isProxied || !isLoopback(socket.remoteAddress)) {
      throw new UiForbidden('The live page is for this machine only: set UI_TOKEN to open it to others.')
    }
    if (!OWN_HOST.test(headers.host ?? '')) {
      throw new UiForbidden(
        'Open the live page as http://127.0.0.1 or http://localhost, with the port, or set UI_TOKEN.',
      )
    }
  }

  /** To be called after `admit`. @throws UiForbidden, UiTokenWrong */
  admitToData({ headers }: IncomingMessage): void {
    if (this.#digest !== undefined) {
      const [, token = ''] = BEARER.exec(headers.authorization ?? '') ?? []
      if (!timingSafeEqual(digestOf(token), this.#digest)) throw new UiTokenWrong()
      return
    }
    const { origin, host } = headers
    const site = headers['sec-fetch-site'] ?? 'none'
    const isOwnOrigin = origin === undefined || origin.replace(/^https?:\/\//, '') === host
    if (!isOwnOrigin || (site !== 'same-origin' && site !== 'none')) {
      throw new UiForbidden('What the live page shows is not for other sites.')
    }
  }
}

function isLoopback(address = ''): boolean {
  return address !== '' && LOOPBACK.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
