import type { RateLimitOptions } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { RateExceeded } from '../src/errors.ts'
import { canonicalAddress } from '../src/http/client-ip.ts'

/** Addresses that are counted at the same time. Above this, the count of the least recently seen address is lost. */
const ADDRESSES_MAX = 100_000
const NAMES_MAX = 100_000

type Limit = (request: FastifyRequest, reply: FastifyReply) => Promise<void>

/**
 * Limits the requests of one address and of one write key's source, per RATE_WINDOW_MS. The address is counted first,
 * so that guessing keys is limited, too. The source is counted when the key has been checked. Each process counts by
 * itself.
 */
async function rateLimits(app: FastifyInstance, config: Config): Promise<void> {
  const { rateKeyMax, rateAddressMax, rateWindowMs } = config
  if (rateKeyMax === undefined && rateAddressMax === undefined) return
  // Loaded only if it is used, to keep the start fast.
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
      setLimitHeaders(reply, counted)
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

/** Sets the rate limit headers. If both limits apply, the headers describe the limit with fewer requests left. */
function setLimitHeaders(reply: FastifyReply, { max, remaining, ttlInSeconds }: Counted): void {
  const other = reply.getHeader('ratelimit-remaining')
  if (typeof other === 'number' && other < remaining) return
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
