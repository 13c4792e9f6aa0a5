import cluster from 'node:cluster'
import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { createApp } from '../plugins/app.ts'
import { mayBeReachedByOthers } from '../plugins/ui.ts'
import type { Config } from '../src/config/config.ts'
import { ConfigInvalid } from '../src/errors.ts'
import { createLogger } from '../src/process/logger.ts'
import { STOP_AT_ONCE, superviseWorkers } from './workers.ts'

/**
 * Runs the server, or as many of it as `workers` says. Resolves once it listens, or for several once all
 * are gone. The first SIGTERM or SIGINT shuts it down, and a second one, or a shutdown that takes longer
 * than `shutdownMsMax`, ends the process at once with exit code 1.
 *
 * @throws ConfigInvalid for a setting that cannot work.
 */
export async function serve(config: Config): Promise<void> {
  const log = createLogger(config.logLevel, process.stdout.isTTY)
  if (config.workers > 1 && cluster.isPrimary) {
    process.exitCode = await superviseWorkers(config, log)
    return
  }
  const app = await openApp(config, log).catch(error => {
    leaveCluster()
    throw error
  })
  shutDownWhenTold(app, config)
  if (cluster.isPrimary || cluster.worker?.id === 1) process.stderr.write(greeting(app, config))
}

async function openApp(config: Config, log: FastifyBaseLogger): Promise<FastifyInstance> {
  const app = await createApp(config, log)
  try {
    await app.listen({ host: config.host, port: config.port })
    return app
  } catch (error) {
    await app.close()
    throw asConfigInvalid(error, config)
  }
}

function shutDownWhenTold(app: FastifyInstance, { shutdownMsMax }: Config): void {
  let isShuttingDown = false
  const shutDown = (reason: string): void => {
    if (isShuttingDown) return
    isShuttingDown = true
    app.log.info({ reason }, 'Shutting down.')
    // It lets the process end by itself, and bounds all that may keep it.
    setTimeout(() => {
      app.log.fatal(
        { shutdownMsMax },
        'The shutdown took too long: stopping at once. What is not archived stays in the queue.',
      )
      process.exit(1)
    }, shutdownMsMax).unref()
    app.close().then(leaveCluster, error => {
      app.log.fatal({ err: error }, 'The shutdown failed.')
      process.exit(1)
    })
  }
  const stopAtOnce = (reason: string): void => {
    app.log.fatal({ reason }, 'Told a second time: stopping at once.')
    process.exit(1)
  }
  if (cluster.isWorker) {
    process.on('SIGTERM', shutDown)
    // It comes to the whole process group, and so to the primary, which has the say.
    process.on('SIGINT', () => {})
    process.on('message', message => {
      if (message === STOP_AT_ONCE) stopAtOnce('the primary')
    })
  } else {
    const shutDownOrStop = (signal: string): void => (isShuttingDown ? stopAtOnce(signal) : shutDown(signal))
    process.on('SIGTERM', shutDownOrStop)
    process.on('SIGINT', shutDownOrStop)
  }
}

/** The channel to the primary would keep the process. */
function leaveCluster(): void {
  if (cluster.worker?.isConnected()) cluster.worker.disconnect()
}

function greeting(app: FastifyInstance, config: Config): string {
  const { role, workers, ui, writeKeys, writeKeysFile } = config
  const url = urlOf(app)
  const many = workers > 1 ? `, ${workers} workers` : ''
  const lines = [`frequency listens on ${url} (role: ${role}${many})`, `  queue    ${app.queue.description}`]
  if (app.hasDecorator('store')) lines.push(`  archive  ${app.store.description}`)
  if (role !== 'archive') {
    if (ui === 'on') lines.push(`  live     ${liveLine(app, config)}`)
    const key = (writeKeys ?? writeKeysFile) === undefined ? '' : " -H 'x-write-key: A_KEY'"
    const body = `'{"event":"signed_up","user_id":"42"}'`
    lines.push(
      'Try it:',
      `  curl -i ${localUrlOf(app)}/api/t${key} -H 'content-type: application/json' -d ${body}`,
    )
  }
  return `${lines.join('\n')}\n`
}

function urlOf(app: FastifyInstance): string {
  return urlOfAddress(app.server.address() as AddressInfo)
}

function urlOfAddress({ address, family, port }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

/** As a program on this machine can ask for it. */
function localUrlOf(app: FastifyInstance): string {
  return local(urlOf(app))
}

function liveLine(app: FastifyInstance, config: Config): string {
  if (config.uiToken === undefined && mayBeReachedByOthers(config))
    return 'for nobody: with UI_TOKEN for who has it'
  return `${adminUrlOf(app)}/`
}

function adminUrlOf({ adminAddress, server }: FastifyInstance): string {
  return local(urlOfAddress(adminAddress ?? (server.address() as AddressInfo)))
}

function local(url: string): string {
  return url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
}

function asConfigInvalid(error: unknown, config: Config): unknown {
  const { code, port = config.port } = error as NodeJS.ErrnoException & { port?: number }
  const isAdmin = port === config.adminPort && port !== config.port
  const host = isAdmin ? config.adminHost : config.host
  const prefix = isAdmin ? 'ADMIN_' : ''
  if (code === 'EADDRINUSE')
    return new ConfigInvalid(`${prefix}PORT: ${host}:${port} is in use by another program.`)
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return new ConfigInvalid(`${prefix}HOST: ${host} is no address of this machine.`)
  if (code === 'EACCES')
    return new ConfigInvalid(`${prefix}PORT: this user may not listen on ${host}:${port}.`)
  return error
}
