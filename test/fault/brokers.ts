/** The broker of a run: one node, a cluster of three nodes with links between them, or one node of RabbitMQ 4. */
import { type Rabbitmq, startRabbitmqCluster } from '../services/rabbitmq.ts'
import { ensureRabbitmq4 } from '../services/rabbitmq4.ts'
import { NET_TICKTIME } from './fault.ts'
import { type Link, openLink } from './link.ts'

export const BROKER_KINDS = ['single', 'cluster', 'rabbitmq4'] as const
export type BrokerKind = (typeof BROKER_KINDS)[number]

const CLUSTER_NODES = 3

export interface Brokers {
  /** Version of RabbitMQ, for example 3.10.8. */
  readonly version: string
  readonly nodes: readonly Rabbitmq[]
  /** One link per pair of nodes. */
  readonly peerLinks: readonly PeerLink[]
  close(): Promise<void>
}

/**
 * Starts the nodes of a broker.
 *
 * @param dir of the data; close() does not remove it
 * @param heartbeat of AMQP, in seconds
 * @throws Error if a node does not start; then no node is left
 */
export async function startBrokers(kind: BrokerKind, dir: string, heartbeat: number): Promise<Brokers> {
  const installation = kind === 'rabbitmq4' ? await ensureRabbitmq4() : undefined
  const links = new NodeLinks()
  try {
    const nodes = await startRabbitmqCluster(kind === 'cluster' ? CLUSTER_NODES : 1, {
      dir,
      config: `heartbeat = ${heartbeat}`,
      env: { RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `-kernel net_ticktime ${NET_TICKTIME}` },
      portOfPeer: (from, to, port) => links.portOf(from, to, port),
      ...(installation !== undefined && { installation }),
    })
    const [first] = nodes as [Rabbitmq]
    const version = (await first.ctl('version')).trim()
    const close = async () => {
      await Promise.all(nodes.map(node => node.close()))
      await links.close()
    }
    return { version, nodes, peerLinks: await peerLinks(nodes, links), close }
  } catch (error) {
    await links.close()
    throw error
  }
}

/** The links between two nodes: one for the connections that each of them opens to the other. */
export class PeerLink {
  readonly name: string
  readonly nodes: readonly [Rabbitmq, Rabbitmq]
  readonly #links: readonly Link[]

  constructor(nodes: readonly [Rabbitmq, Rabbitmq], links: readonly Link[]) {
    this.name = nodes.map(({ nodeName }) => nodeName.split('@')[0]).join(' to ')
    this.nodes = nodes
    this.#links = links
  }

  /** Resets all connections, and returns their number. */
  cut(): number {
    return this.#links.reduce((sum, link) => sum + link.cut(), 0)
  }

  /** Stops forwarding, on new connections too, until the returned function is called. */
  stall(): () => void {
    const resumes = this.#links.map(link => link.stall())
    return () => {
      for (const resume of resumes) resume()
    }
  }

  /** Resolves to whether the first node takes the second for down. */
  async isApart(): Promise<boolean> {
    const [first, second] = this.nodes
    return !(await first.ctl('eval', 'nodes().')).includes(second.nodeName)
  }
}

async function peerLinks(nodes: readonly Rabbitmq[], links: NodeLinks): Promise<PeerLink[]> {
  const pairs = nodes.flatMap((first, index) =>
    nodes.slice(index + 1).map(async (second, ahead) => {
      const [from, to] = [index + 1, index + ahead + 2]
      return new PeerLink([first, second], await Promise.all([links.link(from, to), links.link(to, from)]))
    }),
  )
  return await Promise.all(pairs)
}

/** The links from each node to each other node. A link can be opened before the port of its target is known. */
class NodeLinks {
  readonly #links = new Map<string, { readonly targets: number[]; readonly link: Promise<Link> }>()

  async portOf(from: number, to: number, port: number): Promise<number> {
    const { targets, link } = this.#linkOf(from, to)
    targets[0] = port
    return (await link).port
  }

  link(from: number, to: number): Promise<Link> {
    return this.#linkOf(from, to).link
  }

  async close(): Promise<void> {
    for (const { link } of this.#links.values()) await (await link).close()
  }

  #linkOf(from: number, to: number) {
    const key = `${from} ${to}`
    const known = this.#links.get(key)
    if (known !== undefined) return known
    const targets: number[] = []
    const opened = { targets, link: openLink(targets) }
    this.#links.set(key, opened)
    return opened
  }
}
