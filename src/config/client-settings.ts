import { isIP } from 'node:net'
import { type Static, type TObject, Type } from '@sinclair/typebox'
import { ConfigInvalid } from '../errors.ts'
import { milliseconds } from './setting-types.ts'
import { parseWriteKeys } from './write-key-list.ts'

const optional = (options: { secret?: boolean; fallback: string; description: string }) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 100_000, ...options }))
const requests = (options: { description: string }) =>
  Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000_000, fallback: 'none: no limit', ...options }))

/** The settings of who may send events, how many, and what is stored of the client's address. */
export const clientSettings = {
  writeKeys: optional({
    secret: true,
    fallback: 'none: anybody may send events',
    description:
      'Keys that clients send with their events: name=key or name:browser=key, separated by commas.',
  }),
  writeKeysFile: optional({
    fallback: 'none',
    description: 'A file with the keys, one per line. It is read again when it changes.',
  }),
  corsOrigins: optional({
    fallback: 'none: only pages of the same origin',
    description:
      'Origins whose pages may send events, separated by commas: https://example.com, https://*.example.com, or * for all.',
  }),
  ipPolicy: Type.Union([Type.Literal('keep'), Type.Literal('truncate'), Type.Literal('drop')], {
    default: 'keep',
    description:
      "How the client's address is stored in context.ip: keep, truncate (IPv4 to /24, IPv6 to /48) or drop.",
  }),
  trustProxy: optional({
    fallback: 'none: the address of the connection',
    description:
      'Proxies whose X-Forwarded-* headers are trusted: addresses, networks (10.0.0.0/8), loopback, linklocal or uniquelocal, separated by commas.',
  }),
  publicUrl: optional({
    fallback: 'none: the host of the request',
    description:
      'URL at which clients reach this server, as https://events.example.com. Segment libraries get it as the URL to send to.',
  }),
  rateKeyMax: requests({
    description: 'Maximum requests that send events, per write key and RATE_WINDOW_MS. Further ones get 429.',
  }),
  rateAddressMax: requests({
    description:
      'Maximum requests that send events, per client address (IPv6: per /64) and RATE_WINDOW_MS. Further ones get 429.',
  }),
  rateWindowMs: milliseconds({
    minimum: 100,
    maximum: 86_400_000,
    default: 60_000,
    description: 'Time window of RATE_KEY_MAX and RATE_ADDRESS_MAX.',
  }),
  documentation: Type.Union([Type.Literal('on'), Type.Literal('off')], {
    default: 'on',
    description: 'Whether /documentation shows the API reference (on or off).',
  }),
}

type ClientSettings = Static<TObject<typeof clientSettings>>

/** @throws ConfigInvalid if a value is invalid, or settings contradict each other. The message shows no key. */
export function checkClientSettings({
  writeKeys,
  writeKeysFile,
  corsOrigins,
  trustProxy,
  publicUrl,
  rateKeyMax,
}: ClientSettings): void {
  if (writeKeys !== undefined && writeKeysFile !== undefined) {
    throw new ConfigInvalid('WRITE_KEYS and WRITE_KEYS_FILE are both set. Put all keys into one of them.')
  }
  if (rateKeyMax !== undefined && writeKeys === undefined && writeKeysFile === undefined) {
    throw new ConfigInvalid(
      'RATE_KEY_MAX needs WRITE_KEYS or WRITE_KEYS_FILE. Without keys use RATE_ADDRESS_MAX.',
    )
  }
  if (writeKeys !== undefined) parseWriteKeys(writeKeys, 'WRITE_KEYS')
  if (corsOrigins !== undefined) parseOrigins(corsOrigins)
  if (trustProxy !== undefined) parseProxies(trustProxy)
  if (publicUrl !== undefined) checkPublicUrl(publicUrl)
}

function checkPublicUrl(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isPlain = url !== undefined && /^https?:$/.test(url.protocol) && `${url.search}${url.hash}` === ''
  if (isPlain && url.username === '') return
  throw new ConfigInvalid(
    `PUBLIC_URL must be a URL like https://events.example.com, with or without a path, not ${JSON.stringify(text.slice(0, 100))}.`,
  )
}

function listOf(text: string): string[] {
  return text
    .split(',')
    .map(each => each.trim())
    .filter(each => each !== '')
}

/**
 * @returns the values and patterns that an `Origin` header is compared with, or `'*'` if any origin is allowed
 * @throws ConfigInvalid if an entry is not an origin, or `*` is not alone
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
  // For http and the like, `origin` is as browsers send it: without a default port. For other schemes it is 'null'.
  const { origin } = new URL(url)
  const normalized = origin === 'null' ? url.toLowerCase() : origin
  if (!isWild) return normalized
  const [before = '', after = ''] = normalized
    .split(WILDCARD)
    .map(part => part.replace(/[^a-z0-9:/]/g, '\\$&'))
  return new RegExp(`^${before}(?:[a-z0-9_-]+\\.)+${after}$`)
}

function originInvalid(text: string): Error {
  return new ConfigInvalid(
    `CORS_ORIGINS must be * alone, or origins without a path, like https://example.com or https://*.example.com, not ${JSON.stringify(text.slice(0, 100))}.`,
  )
}

const NETWORKS = new Set(['loopback', 'linklocal', 'uniquelocal'])

/**
 * @returns addresses, networks and names of networks, in the form of Fastify's `trustProxy`
 * @throws ConfigInvalid if an entry is none of these. A number of hops is refused too: with it, a client that connects
 *   directly to the port could claim any address.
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
