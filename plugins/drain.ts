import { once } from 'node:events'
import { Server } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

/** How long clients with open connections have to come by once more and be told to close them. */
const DRAIN_MS_MAX = 1_000

/**
 * Lets connections end at their client's side. Node closes idle ones as soon as a server closes, and a
 * request that is on its way on one of them is then reset; so on shutdown only the listening socket is
 * closed at first, and what still comes on open connections is answered with `connection: close`.
 */
async function drain(app: FastifyInstance): Promise<void> {
  app.addHook('preClose', async () => {
    if (!app.server.listening) return
    const closed = once(app.server, 'close')
    Server.prototype.close.call(app.server)
    const timer = new AbortController()
    await Promise.race([closed, delay(DRAIN_MS_MAX, undefined, { signal: timer.signal }).catch(() => {})])
    timer.abort()
  })
}

export default fp(drain, { name: 'drain' })
