/** The broker of a run: one node, a cluster of three whose links can be cut, or one of RabbitMQ 4. */
import { type Rabbitmq, startRabbitmqCluster } from '../services/rabbitmq.ts'
import { ensureRabbitmq4 } from '../services/rabbitmq4.ts'
import { NET_TICKTIME } from './fault.ts'
import { type Link, openLink } from './link.ts'

export const BROKER_KINDS = ['single', 'cluster', 'rabbitmq4'] as const
export type BrokerKind = (typeof BROKER_KINDS)[number]

const CLUSTER_NODES = 3

export interface Brokers {
  /** For example 3.10.8. */
  readonly version: string
  readonly nodes: readonly Rabbitmq[]
  /** One for each pair of nodes. */
  readonly peerLinks: readonly PeerLink[]
  close(): Promise<void>
}

/**
 * @param dir for the data; it stays
 * @param heartbeat of AMQP, in seconds
 * @throws Error where a node does not start; then nothing is left behind
 */
export async function startBrokers(kind: BrokerKind, dir: string, heartbeat: number): Promise<Brokers> {
  const installation = kind === 'rabbitmq4' ? await ensureRabbitmq4() : undefined
  const ways = new Ways()
  try {
    const nodes = await startRabbitmqCluster(kind === 'cluster' ? CLUSTER_NODES : 1, {
      dir,
      config: `heartbeat = ${heartbeat}`,
      env: { RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `-kernel net_ticktime ${NET_TICKTIME}` },
      portOfPeer: (from, to, port) => ways.portOf(from, to, port),
      ...(installation !== undefined && { installation }),
    })
    const [first] = nodes as [Rabbitmq]
    const version = (await first.ctl('version')).trim()
    const close = async () => {
      await Promise.all(nodes.map(node => node.close()))
      await ways.close()
    }
    return { version, nodes, peerLinks: await peerLinks(nodes, ways), close }
  } catch (error) {
    await ways.close()
    throw error
  }
}

/** What lies between two brokers: for each of them a link by which it reaches the other. */
export class PeerLink {
  readonly name: string
  readonly nodes: readonly [Rabbitmq, Rabbitmq]
  readonly #links: readonly Link[]

  constructor(nodes: readonly [Rabbitmq, Rabbitmq], links: readonly Link[]) {
    this.name = nodes.map(({ nodeName }) => nodeName.split('@')[0]).join(' to ')
    this.nodes = nodes
    this.#links = links
  }

  /** @returns how many connections were reset */
  cut(): number {
    return this.#links.reduce((sum, link) => sum + link.cut(), 0)
  }

  /** Forwards nothing, not even to a connection that is made meanwhile, until the returned function is called. */
  stall(): () => void {
    const resumes = this.#links.map(link => link.stall())
    return () => {
      for (const resume of resumes) resume()
    }
  }

  /** Whether the first of the two takes the other for down. */
  async isApart(): Promise<boolean> {
    const [first, second] = this.nodes
    return !(await first.ctl('eval', 'nodes().')).includes(second.nodeName)
  }
}

async function peerLinks(nodes: readonly Rabbitmq[], ways: Ways): Promise<PeerLink[]> {
  const pairs = nodes.flatMap((first, index) =>
    nodes.slice(index + 1).map(async (second, ahead) => {
      const [from, to] = [index + 1, index + ahead + 2]
      return new PeerLink([first, second], await Promise.all([ways.link(from, to), ways.link(to, from)]))
    }),
  )
  return await Promise.all(pairs)
}

/** The links from each node to each other, which are there before anybody knows the ports that they lead to. */
class Ways {
  readonly #ways = new Map<string, { readonly targets: number[]; readonly link: Promise<Link> }>()

  async portOf(from: number, to: number, port: number): Promise<number> {
    const way = this.#way(from, to)
    way.targets[0] = port
    return (await way.link).port
  }

  link(from: number, to: number): Promise<Link> {
    return this.#way(from, to).link
  }

  async close(): Promise<void> {
    for (const { link } of this.#ways.values()) await (await link).close()
  }

  #way(from: number, to: number) {
    const key = `${from} ${to}`
    const known = this.#ways.get(key)
    if (known !== undefined) return known
    const targets: number[] = []
    const way = { targets, link: openLink(targets) }
    this.#ways.set(key, way)
    return way
  }
}
