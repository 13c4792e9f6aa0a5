import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { RouteNotFound } from '../src/errors.ts'
import { shownPathOf } from '../src/http/request-path.ts'
import { answerClientError } from './errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The address of ADMIN_PORT; undefined if it is not set: routes for operators are on PORT then. */
    adminAddress: AddressInfo | undefined
  }
  interface FastifyContextConfig {
    /** The route is for operators. If ADMIN_PORT is set, it is served there and not on PORT. */
    forOperators?: boolean
  }
}

/**
 * Serves the routes for operators on ADMIN_PORT, if it is set: live page, `/status`, `/metrics`, health and
 * documentation. These routes are then not on PORT, and no others are on ADMIN_PORT. ADMIN_PORT listens when all other
 * plugins are ready, before PORT listens.
 */
async function admin(app: FastifyInstance, { adminPort: port, adminHost: host }: Config): Promise<void> {
  let server: Server | undefined
  app.decorate('adminAddress', { getter: () => (server?.address() ?? undefined) as AddressInfo | undefined })
  if (port === undefined) return
  app.addHook('onRequest', (request, _, done) => {
    const { method, url, routeOptions, raw } = request
    const isForOperators = routeOptions.config.forOperators === true
    if (isForOperators === (serverOf(raw) === server)) done()
    else done(new RouteNotFound(method, shownPathOf(url)))
  })
  app.addHook('onReady', async () => {
    const opened = createServer({ maxHeaderSize: 16 * 1024 }, (request, response) =>
      app.routing(request, response),
    )
    opened.on('clientError', answerClientError)
    opened.listen({ host, port })
    await once(opened, 'listening')
    server = opened
  })
  app.addHook('preClose', async () => {
    server?.closeIdleConnections()
    server?.close()
  })
  app.addHook('onClose', async () => server?.closeAllConnections())
}

function serverOf({ socket }: IncomingMessage): unknown {
  return (socket as typeof socket & { server?: unknown }).server
}

export default fp(admin, { name: 'admin' })
