/** Peer: Fastify validates an event with its own validator, by the schema of frequency, and drops it. */
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'

const { PORT = '0' } = process.env

const person = Type.Optional(Type.Union([Type.String(), Type.Null()]))
const members = Type.Optional(Type.Record(Type.String(), Type.Unknown()))
const body = Type.Object(
  {
    event: Type.String({ minLength: 1, maxLength: 255 }),
    user_id: person,
    userId: person,
    anonymousId: person,
    messageId: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    timestamp: Type.Optional(Type.String({ format: 'iso-date-time' })),
    properties: members,
    context: members,
  },
  { additionalProperties: true },
)

const batch = Type.Object({ batch: Type.Array(body, { minItems: 1 }) }, { additionalProperties: true })

const app = Fastify()
app.post('/api/t', { schema: { body } }, (_, reply) => {
  void reply.type('text/plain').send('200')
})
app.post('/v1/batch', { schema: { body: batch } }, (_, reply) => {
  void reply.send({ success: true })
})
process.stdout.write(`listens on ${await app.listen({ host: '127.0.0.1', port: Number(PORT) })}\n`)
