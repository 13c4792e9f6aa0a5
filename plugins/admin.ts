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
    /** Where routes for operators are; undefined where they are on the port that takes events. */
    adminAddress: AddressInfo | undefined
  }
  interface FastifyContextConfig {
    /** The route is for those who run the server: with ADMIN_PORT it is there, and not on PORT. */
    forOperators?: boolean
  }
}

/**
 * With ADMIN_PORT the live page, `/status`, `/metrics`, health and documentation are on a port of their own, and
 * nothing else is; and PORT has nothing of them. It listens as soon as all else is ready, before events are taken.
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
