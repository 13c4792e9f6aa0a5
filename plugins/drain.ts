import { once } from 'node:events'
import { Server } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'

/** How long idle connections stay open after the start of the shutdown, so that their next answer can close them. */
const DRAIN_MS_MAX = 1_000
const IDLE_CHECK_MS = 50

/**
 * Lets clients close their connections on shutdown. `server.close()` would close idle connections at once, and reset a
 * request that is on its way on one of them. So at first only the listening socket is closed; requests on open
 * connections are still answered, with `connection: close`.
 *
 * After that Node no longer closes connections that become idle, nor those whose request takes too long. This plugin
 * does both.
 */
async function drain(app: FastifyInstance, { requestMsMax, shutdownMsMax }: Config): Promise<void> {
  const overdueMs = Math.min(requestMsMax, shutdownMsMax / 2)

  app.addHook('preClose', async () => {
    if (!app.server.listening) return
    const closed = once(app.server, 'close')
    Server.prototype.close.call(app.server)
    const overdue = setTimeout(() => app.server.closeAllConnections(), overdueMs)
    await Promise.race([closed, delay(DRAIN_MS_MAX, undefined, { ref: false })])
    const idle = setInterval(() => app.server.closeIdleConnections(), IDLE_CHECK_MS)
    void closed.then(() => {
      clearTimeout(overdue)
      clearInterval(idle)
    })
  })
}

export default fp(drain, { name: 'drain' })
