/** Peer in the rows `start` and `rest`: Fastify with one route. */
import Fastify from 'fastify'

const { PORT = '0' } = process.env

const app = Fastify()
app.post('/api/t', (_, reply) => {
  void reply.send('200')
})
process.stdout.write(`listens on ${await app.listen({ host: '127.0.0.1', port: Number(PORT) })}\n`)
