import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { compilersFactory } from '../../plugins/schemas.ts'

function withRoutes(t: Test, app: FastifyInstance): FastifyInstance {
  const querystring = {
    type: 'object',
    properties: { limit: { type: 'integer', maximum: 10, default: 3 } },
    additionalProperties: false,
  }
  const refusal = {
    type: 'object',
    properties: {
      statusCode: { type: 'integer' },
      code: { type: 'string' },
      error: { type: 'string' },
      message: { type: 'string' },
    },
  }
  app.get('/', { schema: { querystring, response: { 400: refusal } } }, async ({ query }) => ({ query }))
  t.teardown(() => app.close())
  return app
}

t.test("validates like Fastify's default, with the same messages", async t => {
  const own = withRoutes(t, Fastify({ schemaController: { compilersFactory } }))
  const plain = withRoutes(t, Fastify())
  for (const query of ['', '?limit=7', '?limit=11', '?limit=x', '?more=1']) {
    const [answer, wanted] = await Promise.all([own.inject(`/${query}`), plain.inject(`/${query}`)])
    t.equal(answer.statusCode, wanted.statusCode, query)
    t.same(answer.json(), wanted.json(), query)
  }
  t.same((await own.inject('/?limit=7')).json(), { query: { limit: 7 } })
  t.same((await own.inject('/')).json(), { query: { limit: 3 } })
  t.match((await own.inject('/?limit=x')).json(), { statusCode: 400, message: /querystring\/limit must be/ })
})
