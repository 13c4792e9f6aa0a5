import { isIP } from 'node:net'
import type { Config } from '../config/config.ts'
import type { NestedMember } from '../event/json-members.ts'
import { NameSet } from '../event/name-set.ts'
import type { Source } from '../event/source.ts'

type IpPolicy = Config['ipPolicy']

/** A client sends one of these values to hide its address. They are archived unchanged. */
const HIDDEN: ReadonlySet<unknown> = new Set(['0.0.0.0', '::', null])

const CONTEXT = new NameSet(['context'])
const IP = new NameSet(['ip'])

/**
 * The change to an event's `context.ip` before it is archived.
 *
 * 1. The event's own `context.ip` counts, except if it came with a browser's key: then only a value that hides the
 *    address counts.
 * 2. Else `address` counts, except if the event came with a server's key: that is the address of the customer's
 *    server, not of the user.
 * 3. The policy then keeps the value (`keep`), keeps only its network (`truncate`) or removes it (`drop`). `truncate`
 *    also removes a value that is not an address.
 *
 * @param address the client's address, as in `request.ip`. If it is undefined, no address is added.
 * @returns undefined if the event needs no change
 */
export function contextIp(
  fields: { context?: unknown },
  policy: IpPolicy,
  source: Source | undefined,
  address?: string,
): NestedMember | undefined {
  const isFromBrowser = source?.kind === 'browser'
  if (policy === 'keep' && address === undefined && !isFromBrowser) return undefined

  const own = contextIpOf(fields)
  const trustedOwn = isFromBrowser && !HIDDEN.has(own) ? undefined : own
  const seen = address === undefined || source?.kind === 'server' ? undefined : canonicalOf(address)
  const kept = underPolicy(trustedOwn === undefined ? seen : trustedOwn, policy)
  if (kept === undefined && !('context' in fields)) return undefined
  // The other policies always edit: JSON may have `context` twice, and `own` is only that of the last one.
  if (kept === own && policy === 'keep' && !isFromBrowser) return undefined
  const member = kept === undefined ? undefined : `"ip":${JSON.stringify(kept)}`
  return { parent: CONTEXT, parentName: 'context', name: IP, member }
}

let lastAddress = ''
let lastCanonical: string | undefined

/** Cached: all events of a request come from one address. */
function canonicalOf(address: string): string | undefined {
  if (address !== lastAddress) {
    lastCanonical = canonicalAddress(address)
    lastAddress = address
  }
  return lastCanonical
}

function contextIpOf({ context }: { context?: unknown }): unknown {
  return typeof context === 'object' && context !== null ? (context as { ip?: unknown }).ip : undefined
}

function underPolicy(ip: unknown, policy: IpPolicy): unknown {
  if (policy === 'drop') return undefined
  if (policy === 'keep' || HIDDEN.has(ip)) return ip
  return typeof ip === 'string' ? truncatedAddress(ip) : undefined
}

/**
 * The usual form of an address: an IPv4-mapped IPv6 address becomes IPv4; a zone is removed, and so is a port, which
 * some proxies add.
 *
 * @returns undefined if the text is not an address
 */
export function canonicalAddress(text: string): string | undefined {
  const bare = text
    .replace(/^\[(.*)\](?::\d+)?$/, '$1')
    .replace(/^([\d.]+):\d+$/, '$1')
    .replace(/%.*$/, '')
  const family = isIP(bare)
  if (family !== 6) return family === 4 ? bare : undefined
  const [, high = '', low = ''] = /^::ffff:([\da-f]+):([\da-f]+)$/.exec(compressed(bare)) ?? []
  if (high === '') return compressed(bare)
  const bits = Number.parseInt(high, 16) * 2 ** 16 + Number.parseInt(low, 16)
  return [24, 16, 8, 0].map(shift => (bits >>> shift) & 255).join('.')
}

/** The network of an address: IPv4 /24, or IPv6 /48, the size that one site gets. Undefined if it is not an address. */
function truncatedAddress(text: string): string | undefined {
  const address = canonicalAddress(text)
  if (address === undefined || !address.includes(':')) return address?.replace(/\d+$/, '0')
  const [head = [], tail] = address.split('::').map(part => (part === '' ? [] : part.split(':')))
  const zeros = tail === undefined ? [] : Array<string>(8 - head.length - tail.length).fill('0')
  return compressed(`${[...head, ...zeros, ...(tail ?? [])].slice(0, 3).join(':')}::`)
}

/** The canonical text of an IPv6 address (RFC 5952). */
function compressed(ipv6: string): string {
  return new URL(`http://[${ipv6}]`).hostname.slice(1, -1)
}
