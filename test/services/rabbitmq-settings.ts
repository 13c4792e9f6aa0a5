/** The environment and the configuration file of a private RabbitMQ node; see rabbitmq.ts. */
import { randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

type Env = Record<string, string>

export interface NodeSettings {
  /** Of the Erlang node: NAME@localhost */
  name: string
  /** For its data, configuration and logs. */
  dir: string
  port: number
  /** For the connections between nodes, and of rabbitmqctl. */
  distributionPort: number
  /** A node that is up already and whose cluster this one joins when it has no data yet. */
  seed?: string | undefined
  /** More environment variables. */
  env?: Env | undefined
  /** More lines of rabbitmq.conf. */
  config?: string | undefined
}

/**
 * What the nodes of a cluster, their port mapper and rabbitmqctl have in common.
 * Writes the cookie by which they know each other into `dir`.
 */
export function siteEnv(dir: string, epmdPort: number): Env {
  writeFileSync(join(dir, '.erlang.cookie'), randomUUID(), { mode: 0o400 })
  return {
    HOME: dir, // where Erlang looks for the cookie
    LC_ALL: 'C.UTF-8',
    ERL_EPMD_PORT: String(epmdPort),
    ERL_AFLAGS: '-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}',
    ERL_CRASH_DUMP_SECONDS: '0',
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
  }
}

/** What rabbitmqctl needs to reach a node. */
export function ctlEnv(site: Env, nodeName: string): Env {
  return {
    ...site,
    RABBITMQ_NODENAME: nodeName,
    // The default range of eleven ports is soon used up by tests that run at the same time.
    RABBITMQ_CTL_DIST_PORT_MIN: '30000',
    RABBITMQ_CTL_DIST_PORT_MAX: '32000',
  }
}

export function serverEnv(site: Env, { name, dir, distributionPort, env }: NodeSettings): Env {
  return {
    ...site,
    RABBITMQ_NODENAME: name,
    RABBITMQ_DIST_PORT: String(distributionPort),
    RABBITMQ_CONFIG_FILE: join(dir, 'rabbitmq.conf'),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(dir, 'advanced.config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'enabled_plugins'),
    RABBITMQ_MNESIA_BASE: join(dir, 'data'),
    RABBITMQ_LOG_BASE: join(dir, 'log'),
    RABBITMQ_PID_FILE: join(dir, 'pid'),
    // Makes the script replace itself with the virtual machine rather than watch over it.
    RUNNING_UNDER_SYSTEMD: 'true',
    ...env,
  }
}

/** Writes the files that a node reads when it starts. */
export function writeConfig(node: NodeSettings): void {
  mkdirSync(node.dir, { recursive: true })
  writeFileSync(join(node.dir, 'enabled_plugins'), '[].\n')
  writeFileSync(join(node.dir, 'rabbitmq.conf'), `${configLines(node).join('\n')}\n`)
}

/** The environment of this process without what a developer has set for a broker of their own. */
export function cleanEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(RABBITMQ|ERL)_/.test(name)))
}

function configLines({ name, port, seed, config = '' }: NodeSettings): string[] {
  const peers = [
    'cluster_formation.peer_discovery_backend = classic_config',
    `cluster_formation.classic_config.nodes.1 = ${seed}`,
    `cluster_formation.classic_config.nodes.2 = ${name}`,
  ]
  return [
    `listeners.tcp.1 = 127.0.0.1:${port}`,
    'disk_free_limit.absolute = 50MB',
    'log.console = false',
    'log.file.level = info',
    ...(seed === undefined ? [] : peers),
    config,
  ]
}
