/** The environment and the configuration file of a private RabbitMQ node; see rabbitmq.ts. */
import { randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

type Env = Record<string, string>

export interface NodeSettings {
  /** Name of the Erlang node, of the form NAME@localhost */
  name: string
  /** Directory of the data, configuration and logs. */
  dir: string
  port: number
  /** Port for connections from other nodes and from rabbitmqctl. */
  distributionPort: number
  /** A running node. If this node has no data yet, it joins the cluster of that node. */
  seed?: string | undefined
  /** More environment variables. */
  env?: Env | undefined
  /** More lines of rabbitmq.conf. */
  config?: string | undefined
}

/**
 * Returns the environment of all nodes of a cluster, of its port mapper (epmd) and of rabbitmqctl.
 * Writes the Erlang cookie, with which they authenticate each other, into `dir`.
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

/** Returns the environment in which rabbitmqctl reaches a node. */
export function ctlEnv(site: Env, nodeName: string): Env {
  return {
    ...site,
    RABBITMQ_NODENAME: nodeName,
    // The default range has eleven ports, too few for tests that run at the same time.
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
    // With this the start script replaces itself by the Erlang virtual machine, so that signals reach it.
    RUNNING_UNDER_SYSTEMD: 'true',
    ...env,
  }
}

/** Writes the configuration files of a node. */
export function writeConfig(node: NodeSettings): void {
  mkdirSync(node.dir, { recursive: true })
  writeFileSync(join(node.dir, 'enabled_plugins'), '[].\n')
  writeFileSync(join(node.dir, 'rabbitmq.conf'), `${configLines(node).join('\n')}\n`)
}

/** Returns the environment of this process without settings for another broker on this machine. */
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
