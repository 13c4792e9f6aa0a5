import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

/** Listens to the server as a whole. Not for a server that has other routes than ours. */
async function connections(app: FastifyInstance): Promise<void> {
  app.server.on('drop', () =>
    app.requests.refuse('FRQ_CONNECTIONS_TOO_MANY', 'A connection above CONNECTIONS_MAX was closed at once.'),
  )
  // Node would answer an unknown `expect` header with an empty 417. A server may ignore the header (RFC 9110, 10.1.1).
  app.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    app.server.emit('request', request, response)
  })
}

export default fp(connections, { name: 'connections', dependencies: ['requests'] })
