import { isIP } from 'node:net'
import type { Config } from '../config/config.ts'
import type { NestedMember } from '../event/json-members.ts'
import { NameSet } from '../event/name-set.ts'
import type { Source } from '../event/source.ts'

type IpPolicy = Config['ipPolicy']

/** By these a client says that its address is not to be known; they stay as they are. */
const HIDDEN: ReadonlySet<unknown> = new Set(['0.0.0.0', '::', null])

const CONTEXT = new NameSet(['context'])
const IP = new NameSet(['ip'])

/**
 * The change to the `context.ip` of an event that is to be archived; undefined where it stays as it came.
 *
 * An event's own `context.ip` stays where anybody but a browser's key sent it; else it is `address`, but
 * not where the event came with a server's key, whose address says nothing about who did it. Of what
 * that gives the policy leaves all, the network, or nothing. What is no address is dropped by `truncate`.
 *
 * @param address of the client, as `request.ip` has it; undefined adds none to what has none.
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
  const said = isFromBrowser && !HIDDEN.has(own) ? undefined : own
  const seen = address === undefined || source?.kind === 'server' ? undefined : canonicalOf(address)
  const kept = underPolicy(said === undefined ? seen : said, policy)
  if (kept === undefined && !('context' in fields)) return undefined
  // Under the other policies also a `context` that stands twice must hold no address.
  if (kept === own && policy === 'keep' && !isFromBrowser) return undefined
  const member = kept === undefined ? undefined : `"ip":${JSON.stringify(kept)}`
  return { parent: CONTEXT, parentName: 'context', name: IP, member }
}

let lastAddress = ''
let lastCanonical: string | undefined

/** All events of a request come from one. */
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
 * An address as it is commonly written: IPv4 where IPv6 only carries it, no zone, and no port, which
 * some proxies put behind it. Undefined where the text is no address.
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

/** IPv4 to /24, and IPv6 to /48, which is what a site has. */
function truncatedAddress(text: string): string | undefined {
  const address = canonicalAddress(text)
  if (address === undefined || !address.includes(':')) return address?.replace(/\d+$/, '0')
  const [head = [], tail] = address.split('::').map(part => (part === '' ? [] : part.split(':')))
  const zeros = tail === undefined ? [] : Array<string>(8 - head.length - tail.length).fill('0')
  return compressed(`${[...head, ...zeros, ...(tail ?? [])].slice(0, 3).join(':')}::`)
}

/** As RFC 5952 writes it. */
function compressed(ipv6: string): string {
  return new URL(`http://[${ipv6}]`).hostname.slice(1, -1)
}
