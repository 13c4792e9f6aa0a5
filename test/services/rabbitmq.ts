/**
 * Private RabbitMQ nodes on free loopback ports. They have their own Erlang port mapper (epmd), so they are separate
 * from other brokers on this machine and from other tests. They begin as fresh nodes: the user guest with all rights,
 * no queues, no plugins.
 *
 * A stopped node keeps its ports and its data, and can be started again.
 */
import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Connection } from 'rabbitmq-client'
import { Daemon, output } from './daemon.ts'
import { EpmdView } from './epmd-view.ts'
import { serverPath } from './install.ts'
import { acceptsTcp, freePort } from './ports.ts'
import { type Command, hostInstallation, type RabbitmqInstallation } from './rabbitmq-installation.ts'
import { cleanEnv, ctlEnv, type NodeSettings, serverEnv, siteEnv, writeConfig } from './rabbitmq-settings.ts'
import { until } from './wait.ts'
import { Workspace } from './workspace.ts'

const START_TIMEOUT_MS = 90_000
const STOP_TIMEOUT_MS = 30_000
const CTL_TIMEOUT_MS = 60_000
const CONNECT_TIMEOUT_MS = 10_000

export interface RabbitmqOptions {
  /**
   * Directory of the data. close() leaves it there, and a node that is started with it later has the same queues.
   * @default a temporary directory that close() removes
   */
  dir?: string
  /** More environment variables of the node, for example RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS. */
  env?: Record<string, string>
  /** More lines of rabbitmq.conf. If a setting is there twice, the last value counts. */
  config?: string
  /** Another RabbitMQ than the one of this machine (rabbitmq4.ts). `dir` must then be below the directory for temporary files. */
  installation?: RabbitmqInstallation
  /**
   * Called each time that the node `from` connects to the node `to`, whose distribution port is `port`. Nodes are
   * numbered from 1. Resolves to the port of 127.0.0.1 to connect to, for example the port of a proxy.
   */
  portOfPeer?: (from: number, to: number, port: number) => Promise<number>
}

/** The shared parts of a cluster. */
interface Site {
  workspace: Workspace
  env: Record<string, string>
  epmdPort: number
  installation: RabbitmqInstallation
  views: EpmdView[]
  /** Whether the data are in the workspace, and are removed with it. */
  temporary: boolean
  /** Number of nodes that are not closed. The last one closes the workspace. */
  nodesOpen: number
}

/**
 * Starts one node. Takes about five seconds.
 * @throws Error if it accepts no AMQP connection within 90 seconds
 */
export async function startRabbitmq(options: RabbitmqOptions = {}): Promise<Rabbitmq> {
  const [node] = await startRabbitmqCluster(1, options)
  return node as Rabbitmq
}

/**
 * Starts `size` nodes and joins them in one cluster. Three take about eighteen seconds on two cores.
 * If all nodes were stopped, start them at the same time: each waits for the nodes that it knew last.
 * @param size default: 3, the smallest cluster in which a quorum queue survives the loss of a node
 * @param options of every node; each node has its own directory within `dir`
 * @throws Error if a node accepts no AMQP connection within 90 seconds
 */
export async function startRabbitmqCluster(size = 3, options: RabbitmqOptions = {}): Promise<Rabbitmq[]> {
  const site = await openSite(size, options)
  try {
    const indices = Array.from({ length: size }, (_, i) => i + 1)
    const [seed, ...others] = await Promise.all(indices.map(index => createNode(site, index, options)))
    if (seed === undefined) throw new RangeError('A cluster has at least one node')
    await seed.start()
    await Promise.all(others.map(node => node.start()))
    return [seed, ...others]
  } catch (err) {
    await closeSite(site)
    throw err
  }
}

/**
 * Runs rabbitmqctl on the broker of run.ts, and resolves to its standard output.
 * @throws Error if run.ts has not started this process, or if rabbitmqctl fails
 */
export async function rabbitmqctl(...args: string[]): Promise<string> {
  const json = process.env.TEST_RABBITMQCTL_ENV
  if (json === undefined) throw new Error('TEST_RABBITMQCTL_ENV is not set: run.ts sets it')
  return await runCtl(hostInstallation().ctl, JSON.parse(json), args)
}

/** One node. Made by startRabbitmq() and startRabbitmqCluster(). */
export class Rabbitmq {
  /** The AMQP port. */
  readonly port: number
  /** Of the form amqp://guest:guest@127.0.0.1:PORT */
  readonly url: string
  /** Name of the Erlang node, as rabbitmqctl shows it. */
  readonly nodeName: string
  /** The environment in which rabbitmqctl reaches this node. */
  readonly ctlEnv: Record<string, string>
  #site: Site
  #dir: string
  #server: Daemon
  #pid = 0
  #closed = false

  constructor(site: Site, node: NodeSettings) {
    this.port = node.port
    this.url = `amqp://guest:guest@127.0.0.1:${node.port}`
    this.nodeName = node.name
    this.ctlEnv = ctlEnv(site.env, node.name)
    this.#site = site
    this.#dir = node.dir
    const env = { ...cleanEnv(), ...serverEnv(site.env, node) }
    this.#server = new Daemon(site.workspace, { name: node.name, ...site.installation.server, env })
  }

  /** Process id of the Erlang virtual machine (beam). @throws Error if it does not run */
  get pid(): number {
    this.#server.assertRunning()
    return this.#pid
  }

  /**
   * Starts the node, also again after stop() or kill(), with the same ports and data.
   * @throws Error if it accepts no AMQP connection within 90 seconds
   */
  async start(): Promise<void> {
    this.#server.start()
    try {
      await this.#answers()
    } catch (err) {
      await this.#server.kill()
      throw err
    }
    this.#pid = Number(readFileSync(join(this.#dir, 'pid'), 'utf8'))
  }

  /** Shuts the node down cleanly, and keeps the data. @throws Error if that takes longer than 30 seconds */
  async stop(): Promise<void> {
    if (!this.#server.isRunning) return
    this.resume()
    process.kill(this.pid, 'SIGTERM')
    await until(`${this.nodeName} stops`, STOP_TIMEOUT_MS, () => !this.#server.isRunning)
  }

  /** Kills the node with SIGKILL. Data that it has written stay. */
  async kill(): Promise<void> {
    await this.#server.kill()
  }

  /** Pauses the node with SIGSTOP: connections stay open, and nothing answers. */
  pause(): void {
    process.kill(this.pid, 'SIGSTOP')
  }

  resume(): void {
    process.kill(this.pid, 'SIGCONT')
  }

  /**
   * Runs rabbitmqctl and resolves to its standard output.
   * @throws Error with its standard error if it fails or takes longer than a minute
   */
  async ctl(...args: string[]): Promise<string> {
    return await runCtl(this.#site.installation.ctl, this.ctlEnv, args)
  }

  /** Ends the node, and removes its data unless `dir` was given. Can be repeated. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (this.#site.temporary) await this.kill()
    else await this.stop()
    this.#site.nodesOpen -= 1
    if (this.#site.nodesOpen === 0) await closeSite(this.#site)
    else if (this.#site.temporary) await rm(this.#dir, { recursive: true, force: true })
  }

  async #answers(): Promise<void> {
    await until(`${this.nodeName} listens`, START_TIMEOUT_MS, () => {
      this.#server.assertRunning()
      return acceptsTcp(this.port)
    })
    const connection = new Connection({ url: this.url, retryLow: 100, retryHigh: 500 })
    connection.on('error', () => {})
    await connection.onConnect(CONNECT_TIMEOUT_MS)
    await connection.close()
  }
}

async function openSite(nodesOpen: number, options: RabbitmqOptions): Promise<Site> {
  const { dir, installation = hostInstallation() } = options
  const workspace = new Workspace('rabbitmq')
  try {
    const epmdPort = await freePort()
    await startEpmd(workspace, epmdPort)
    const env = siteEnv(workspace.dir, epmdPort)
    return { workspace, env, epmdPort, installation, views: [], temporary: dir === undefined, nodesOpen }
  } catch (err) {
    await workspace.close()
    throw err
  }
}

async function closeSite({ workspace, views }: Site): Promise<void> {
  for (const view of views) view.close()
  await workspace.close()
}

async function startEpmd(workspace: Workspace, port: number): Promise<void> {
  const args = ['-port', String(port), '-address', '127.0.0.1']
  const epmd = new Daemon(workspace, { name: 'epmd', command: serverPath('epmd'), args })
  epmd.start()
  await until('epmd listens', CONNECT_TIMEOUT_MS, () => {
    epmd.assertRunning()
    return acceptsTcp(port)
  })
}

async function createNode(site: Site, index: number, options: RabbitmqOptions): Promise<Rabbitmq> {
  const name = `frequency-${index}@localhost`
  const node: NodeSettings = {
    name,
    dir: join(options.dir ?? site.workspace.dir, name),
    port: await freePort(),
    distributionPort: await freePort(),
    seed: index === 1 ? undefined : 'frequency-1@localhost',
    env: { ...(await viewOf(site, index, options)), ...options.env },
    config: options.config,
  }
  writeConfig(node)
  return new Rabbitmq(site, node)
}

async function viewOf(
  site: Site,
  from: number,
  { portOfPeer }: RabbitmqOptions,
): Promise<Record<string, string>> {
  if (portOfPeer === undefined) return {}
  const view = await EpmdView.open(site.epmdPort, async (name, port) => {
    const to = Number(/^frequency-(\d+)$/.exec(name)?.[1])
    return to > 0 && to !== from ? await portOfPeer(from, to, port) : port
  })
  site.views.push(view)
  return { ERL_EPMD_PORT: String(view.port) }
}

async function runCtl(
  { command, args: before }: Command,
  env: Record<string, string>,
  args: readonly string[],
): Promise<string> {
  const options = { env: { ...cleanEnv(), ...env }, timeoutMs: CTL_TIMEOUT_MS }
  return await output(command, [...before, '--quiet', ...args], options)
}
