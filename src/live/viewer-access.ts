/**
 * Who may see the live page.
 *
 * With a token: whoever sends it, in a header. No other site has it, and a browser sends it for none, so
 * nothing else has to be checked; the page itself, without its data, is open, for it is where the token
 * is asked for.
 *
 * Without one: this machine alone, and nobody where others may reach the server, for a proxy with its defaults makes
 * a request look as if it came from this machine. A browser on this machine can be made to ask by any site that it has
 * open, so where it is asked from counts too. The Host must be a name of this machine, which a site with
 * a name that was made to point here (DNS rebinding) cannot pretend. The Origin must be our own, and so
 * must what the browser says of the page that asks (Fetch Metadata). And what a proxy has passed on is
 * not from here, wherever it seems to come from.
 */

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'
import { UiForbidden, UiTokenWrong } from '../errors.ts'

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

const OWN_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i
/** What proxies and the networks of others add to a request. */
const PROXY_HEADER =
  /^(?:forwarded|via|x-forwarded-.*|x-real-ip|x-client-ip|x-cluster-client-ip|true-client-ip|cf-.*|fastly-.*|x-amzn-.*|x-envoy-.*|x-original-.*)$/
const BEARER = /^Bearer +(\S+)$/i

export class ViewerAccess {
  readonly #digest: Buffer | undefined
  readonly #isShut: boolean

  /**
   * @param token undefined where only this machine is let in
   * @param isExposed whether others may reach the server, so that nobody is let in without a token
   */
  constructor(token: string | undefined, isExposed = false) {
    this.#digest = token === undefined ? undefined : digestOf(token)
    this.#isShut = isExposed
  }

  /** @throws UiForbidden for who may not even see the page without its data. */
  admit({ headers, httpVersion, socket }: IncomingMessage): void {
    if (this.#digest !== undefined) return
    if (this.#isShut) {
      throw new UiForbidden(
        'The live page needs UI_TOKEN here: with WRITE_KEYS, TRUST_PROXY or an address that others reach it is for those who have the token.',
      )
    }
    // nginx passes requests on as HTTP/1.0, where it is not told otherwise, and no browser sends that.
    const isProxied = httpVersion === '1.0' || Object.keys(headers).some(name => PROXY_HEADER.test(name))
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

/** Of a setting for an address to listen on. */
export function isLoopbackName(host: string): boolean {
  return host === 'localhost' || isLoopback(host)
}

function isLoopback(address = ''): boolean {
  const family = isIP(address)
  return family !== 0 && LOOPBACK.check(address, family === 6 ? 'ipv6' : 'ipv4')
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
