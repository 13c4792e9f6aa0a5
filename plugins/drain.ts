import { once } from 'node:events'
import { Server } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'

/** How long clients with open connections have to come by once more and be told to close them. */
const DRAIN_MS_MAX = 1_000
const IDLE_CHECK_MS = 50

/**
 * Lets connections end at their client's side. Node closes idle ones as soon as a server closes, and a
 * request that is on its way on one of them is then reset; so on shutdown only the listening socket is
 * closed at first, and what still comes on open connections is answered with `connection: close`.
 *
 * From then on Node looks after no connection: neither one that becomes idle later, nor one whose
 * request is overdue. So that is done here.
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
