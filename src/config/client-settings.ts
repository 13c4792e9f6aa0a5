import { isIP } from 'node:net'
import { type Static, type TObject, Type } from '@sinclair/typebox'
import { ConfigInvalid } from '../errors.ts'
import { milliseconds } from './setting-types.ts'
import { parseWriteKeys } from './write-key-list.ts'

const optional = (options: { secret?: boolean; fallback: string; description: string }) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 100_000, ...options }))
const requests = (options: { description: string }) =>
  Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000_000, fallback: 'none: no limit', ...options }))

/** The settings that say who may send events, how many, and what is kept of their address. */
export const clientSettings = {
  writeKeys: optional({
    secret: true,
    fallback: 'none: anybody may send events',
    description:
      'Keys that clients send with their events, as name=key or name:browser=key, with commas between.',
  }),
  writeKeysFile: optional({
    fallback: 'none',
    description: 'A file with the keys, one on a line; it is read again when it changes.',
  }),
  corsOrigins: optional({
    fallback: 'none: no page of another origin',
    description:
      'Origins whose pages may call, with commas between: https://example.com, https://*.example.com, or * for all.',
  }),
  ipPolicy: Type.Union([Type.Literal('keep'), Type.Literal('truncate'), Type.Literal('drop')], {
    default: 'keep',
    description:
      "What becomes of the client's address in context.ip: keep it, truncate it (IPv4 to /24, IPv6 to /48) or drop it.",
  }),
  trustProxy: optional({
    fallback: 'none: the address of the connection',
    description:
      'Proxies whose X-Forwarded-For is believed: addresses, networks (10.0.0.0/8), loopback or uniquelocal, with commas between.',
  }),
  publicUrl: optional({
    fallback: 'none: the host that was asked',
    description:
      'Where clients reach this server, as https://events.example.com: what Segment libraries are told to send to.',
  }),
  rateKeyMax: requests({
    description: 'Requests that take events, for each write key in RATE_WINDOW_MS; past it 429.',
  }),
  rateAddressMax: requests({
    description:
      'Requests that take events, for each client address (of IPv6 each /64) in RATE_WINDOW_MS; past it 429.',
  }),
  rateWindowMs: milliseconds({
    minimum: 100,
    maximum: 86_400_000,
    default: 60_000,
    description: 'Time over which RATE_KEY_MAX and RATE_ADDRESS_MAX count.',
  }),
  documentation: Type.Union([Type.Literal('on'), Type.Literal('off')], {
    default: 'on',
    description: 'Whether /documentation has the API reference (on), or nothing (off).',
  }),
}

type ClientSettings = Static<TObject<typeof clientSettings>>

/** @throws ConfigInvalid where a text is not what its setting wants; keys are not shown. */
export function checkClientSettings({
  writeKeys,
  writeKeysFile,
  corsOrigins,
  trustProxy,
  publicUrl,
  rateKeyMax,
}: ClientSettings): void {
  if (writeKeys !== undefined && writeKeysFile !== undefined) {
    throw new ConfigInvalid('WRITE_KEYS and WRITE_KEYS_FILE are both set: put all keys in one of them.')
  }
  if (rateKeyMax !== undefined && writeKeys === undefined && writeKeysFile === undefined) {
    throw new ConfigInvalid(
      'RATE_KEY_MAX needs WRITE_KEYS or WRITE_KEYS_FILE: without keys use RATE_ADDRESS_MAX.',
    )
  }
  if (writeKeys !== undefined) parseWriteKeys(writeKeys, 'WRITE_KEYS')
  if (corsOrigins !== undefined) parseOrigins(corsOrigins)
  if (trustProxy !== undefined) parseProxies(trustProxy)
  if (publicUrl !== undefined) checkPublicUrl(publicUrl)
}

/** @throws ConfigInvalid */
function checkPublicUrl(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isPlain = url !== undefined && /^https?:$/.test(url.protocol) && `${url.search}${url.hash}` === ''
  if (isPlain && url.username === '') return
  throw new ConfigInvalid(
    `PUBLIC_URL must be like https://events.example.com, and may have a path; not ${JSON.stringify(text.slice(0, 100))}.`,
  )
}

function listOf(text: string): string[] {
  return text
    .split(',')
    .map(each => each.trim())
    .filter(each => each !== '')
}

/**
 * What an `Origin` header must be equal to, or match; `'*'` for any.
 *
 * @throws ConfigInvalid
 */
export function parseOrigins(text: string): '*' | (string | RegExp)[] {
  const origins = listOf(text)
  if (origins.length === 1 && origins[0] === '*') return '*'
  if (origins.length === 0 || origins.includes('*')) throw originInvalid('*')
  return origins.map(parseOrigin)
}

const WILDCARD = 'any-subdomain.'

function parseOrigin(text: string): string | RegExp {
  const [, scheme, isWild, host] = /^([a-z][a-z0-9+.-]*:\/\/)(\*\.)?([^/?#@*\s\\]+)$/i.exec(text) ?? []
  const url = scheme && `${scheme}${isWild ? WILDCARD : ''}${host}`
  if (!url || !URL.canParse(url)) throw originInvalid(text)
  // A URL knows the origin of its own schemes only: no default port, and the host as browsers write it.
  const { origin } = new URL(url)
  const known = origin === 'null' ? url.toLowerCase() : origin
  if (!isWild) return known
  const [before = '', after = ''] = known.split(WILDCARD).map(part => part.replace(/[^a-z0-9:/]/g, '\\$&'))
  return new RegExp(`^${before}(?:[a-z0-9_-]+\\.)+${after}$`)
}

function originInvalid(text: string): Error {
  return new ConfigInvalid(
    `CORS_ORIGINS must be * alone, or origins like https://example.com or https://*.example.com, with no path; not ${JSON.stringify(text.slice(0, 100))}.`,
  )
}

const NETWORKS = new Set(['loopback', 'linklocal', 'uniquelocal'])

/**
 * Addresses, networks and names of networks, as Fastify's `trustProxy` takes them.
 *
 * @throws ConfigInvalid also for a number of hops, which says nothing about who connects: whoever
 *   reaches the port directly could then claim any address.
 */
export function parseProxies(text: string): string[] {
  const proxies = listOf(text)
  const wrong = proxies.length === 0 ? text : proxies.find(proxy => !NETWORKS.has(proxy) && !isNetwork(proxy))
  if (wrong === undefined) return proxies
  throw new ConfigInvalid(
    `TRUST_PROXY must be the addresses or networks of the proxies (192.0.2.7, 10.0.0.0/8, fd00::/8, loopback, linklocal, uniquelocal), not ${JSON.stringify(wrong.slice(0, 100))}.`,
  )
}

function isNetwork(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/')
  const family = isIP(address)
  if (family === 0 || more.length > 0) return false
  return bits === undefined || (/^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}
