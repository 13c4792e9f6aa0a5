/**
 * Who may see the live page.
 *
 * With UI_TOKEN: every client that sends the token in a header. Nothing else is checked: other sites do not know the
 * token, and a browser does not add it by itself. The page without its data is open, because it asks for the token.
 *
 * Without UI_TOKEN: clients on this machine only. If others can reach the server, nobody: a proxy with default settings
 * makes a request look as if it came from this machine. Any site that is open in a browser on this machine can make the
 * browser send requests here, so these are checked as well:
 *
 * - The Host must be a name of this machine. A site cannot fake this with a DNS name that points here (DNS rebinding).
 * - The headers `origin` and `sec-fetch-site`, if the browser sends them, must name our own page.
 * - A request with a proxy's header is not from this machine, whatever its address is.
 */

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'
import { UiForbidden, UiTokenWrong } from '../errors.ts'

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

const OWN_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i
/** Headers that proxies and CDNs add to a request. */
const PROXY_HEADER =
  /^(?:forwarded|via|x-forwarded-.*|x-real-ip|x-client-ip|x-cluster-client-ip|true-client-ip|cf-.*|fastly-.*|x-amzn-.*|x-envoy-.*|x-original-.*)$/
const BEARER = /^Bearer +(\S+)$/i

export class ViewerAccess {
  readonly #tokenDigest: Buffer | undefined
  readonly #isExposed: boolean

  /**
   * @param token undefined to admit only this machine
   * @param isExposed whether others can reach the server. If so, and without a token, nobody is admitted
   */
  constructor(token: string | undefined, isExposed = false) {
    this.#tokenDigest = token === undefined ? undefined : digestOf(token)
    this.#isExposed = isExposed
  }

  /** Admits to the page without its data. @throws UiForbidden if the client may not even see that */
  admit({ headers, httpVersion, socket }: IncomingMessage): void {
    if (this.#tokenDigest !== undefined) return
    if (this.#isExposed) {
      throw new UiForbidden(
        'The live page is closed, because others may reach this server (by WRITE_KEYS, TRUST_PROXY, PUBLIC_URL or its address). Set UI_TOKEN to open it.',
      )
    }
    // By default nginx passes requests on as HTTP/1.0. No browser sends that.
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

  /**
   * Admits to the data. To be called after `admit`.
   *
   * @throws UiTokenWrong if there is a token, and the client did not send it
   * @throws UiForbidden if another site makes the browser ask
   */
  admitToData({ headers }: IncomingMessage): void {
    if (this.#tokenDigest !== undefined) {
      const [, token = ''] = BEARER.exec(headers.authorization ?? '') ?? []
      if (!timingSafeEqual(digestOf(token), this.#tokenDigest)) throw new UiTokenWrong()
      return
    }
    const { origin, host } = headers
    const site = headers['sec-fetch-site'] ?? 'none'
    const isOwnOrigin = origin === undefined || origin.replace(/^https?:\/\//, '') === host
    if (!isOwnOrigin || (site !== 'same-origin' && site !== 'none')) {
      throw new UiForbidden('Other sites may not read the data of the live page.')
    }
  }
}

/** Whether a listening address (`HOST`) can be reached from this machine only. */
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
