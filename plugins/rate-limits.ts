import type { RateLimitOptions } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { RateExceeded } from '../src/errors.ts'
import { canonicalAddress } from '../src/http/client-ip.ts'

/** Addresses that are counted at once; past it those that were seen longest ago begin anew. */
const ADDRESSES_MAX = 100_000
const NAMES_MAX = 100_000

type Limit = (request: FastifyRequest, reply: FastifyReply) => Promise<void>

/**
 * Bounds how often one address, or one write key, may send. An address is counted before anything else is
 * done for its request, so that guessing keys is bounded too; a key once it is known whose it is. It
 * counts in this process only.
 */
async function rateLimits(app: FastifyInstance, config: Config): Promise<void> {
  const { rateKeyMax, rateAddressMax, rateWindowMs } = config
  if (rateKeyMax === undefined && rateAddressMax === undefined) return
  // Only here, so that a start without it is no slower.
  const { default: rateLimit } = await import('@fastify/rate-limit')
  await app.register(rateLimit, { global: false })

  function createLimit(
    who: string,
    options: Required<Pick<RateLimitOptions, 'cache' | 'keyGenerator'>>,
    max: number,
  ): Limit {
    const limited = { ...options, max, timeWindow: rateWindowMs }
    const count = app.createRateLimit(limited)
    return async (request, reply) => {
      const counted = await count(request)
      if (counted.isAllowed) return
      sayLimit(reply, counted)
      if (!counted.isExceeded) return
      void reply.header('retry-after', counted.ttlInSeconds)
      throw new RateExceeded(
        `More than ${max} requests in ${rateWindowMs} ms ${who}: send again in ${counted.ttlInSeconds} s.`,
      )
    }
  }

  const onRequest: Limit[] = []
  const preValidation: Limit[] = []
  if (rateAddressMax !== undefined) {
    const keyGenerator = ({ ip }: FastifyRequest) => rateLimit.normalizeIP(canonicalAddress(ip) ?? ip)
    onRequest.push(createLimit('from this address', { cache: ADDRESSES_MAX, keyGenerator }, rateAddressMax))
  }
  if (rateKeyMax !== undefined) {
    const keyGenerator = ({ source }: FastifyRequest) => String(source?.name)
    preValidation.push(createLimit('with this write key', { cache: NAMES_MAX, keyGenerator }, rateKeyMax))
  }

  app.addHook('onRoute', (route: RouteOptions) => {
    if (!route.config?.takesEvents) return
    route.onRequest = [...onRequest, ...[route.onRequest ?? []].flat()]
    route.preValidation = [...[route.preValidation ?? []].flat(), ...preValidation]
  })
}

/** The limit of which less is left, where there are two. */
function sayLimit(reply: FastifyReply, { max, remaining, ttlInSeconds }: Counted): void {
  const said = reply.getHeader('ratelimit-remaining')
  if (typeof said === 'number' && said < remaining) return
  void reply.headers({
    'ratelimit-limit': max,
    'ratelimit-remaining': remaining,
    'ratelimit-reset': ttlInSeconds,
  })
}

interface Counted {
  readonly max: number
  readonly remaining: number
  readonly ttlInSeconds: number
}

export default fp(rateLimits, { name: 'rate-limits', dependencies: ['write-keys'] })
