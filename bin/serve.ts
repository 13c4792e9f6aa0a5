import cluster from 'node:cluster'
import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { createApp } from '../plugins/app.ts'
import { mayBeReachedByOthers } from '../plugins/ui.ts'
import type { Config } from '../src/config/config.ts'
import { isRefusal } from '../src/errors.ts'
import { createLogger } from '../src/process/logger.ts'
import { ServiceManager } from '../src/process/service-manager.ts'
import { outputClosed } from './closed-output.ts'
import { asConfigInvalid, tryDirectories, tryPorts } from './preflight.ts'
import { leaveCluster, shutDownOnSignal } from './shutdown.ts'
import { superviseWorkers } from './workers.ts'

type Logger = ReturnType<typeof createLogger>

/**
 * Runs one server, or a primary with `workers` servers. Resolves when the server listens, or, with several workers, when
 * all have exited. An error that ends the process is logged, and sets exit code 1.
 */
export async function serve(config: Config): Promise<void> {
  const closed = outputClosed()
  const logClosed = new AbortController()
  const log = createLogger(config.logLevel, process.stdout.isTTY, () => logClosed.abort())
  process.on('uncaughtException', error => {
    logAndFail(error, log)
    process.exit()
  })
  try {
    await serveWith(config, log, AbortSignal.any([closed, logClosed.signal]))
  } catch (error) {
    logAndFail(error, log)
    leaveCluster()
    // Requests of what was opened before the failure may still wait for a server that does not answer.
    process.exit()
  }
}

async function serveWith(config: Config, log: Logger, closed: AbortSignal): Promise<void> {
  const manager = new ServiceManager(process.env, log)
  await tryDirectories(config)
  await tryPorts(config)
  if (config.workers > 1 && cluster.isPrimary) {
    process.exitCode = await superviseWorkers(config, log, manager, closed)
    return
  }
  const app = await openApp(config, log)
  shutDownOnSignal(app, config, manager, closed)
  manager.ready(`Listens on ${urlOf(app)}`)
  if (cluster.isPrimary || cluster.worker?.id === 1) process.stderr.write(greeting(app, config))
}

/** Sets exit code 1 and logs the reason. If the log level hides it, the reason is written to standard error. */
function logAndFail(error: unknown, log: Logger): void {
  process.exitCode = 1
  const { message, stack } = error as Error
  if (!log.isLevelEnabled('fatal')) process.stderr.write(`frequency: ${isRefusal(error) ? message : stack}\n`)
  else if (isRefusal(error)) log.fatal({ code: error.code }, message)
  else log.fatal({ err: error }, 'An unexpected error ends the process.')
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

function greeting(app: FastifyInstance, config: Config): string {
  const { role, workers, ui, writeKeys, writeKeysFile } = config
  const url = urlOf(app)
  const workersText = workers > 1 ? `, ${workers} workers` : ''
  const lines = [
    `frequency listens on ${url} (role: ${role}${workersText})`,
    `  queue    ${app.queue.description}`,
  ]
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

/** The URL for a client on this machine. */
function localUrlOf(app: FastifyInstance): string {
  return withLoopback(urlOf(app))
}

function liveLine(app: FastifyInstance, config: Config): string {
  if (config.uiToken === undefined && mayBeReachedByOthers(config))
    return 'nobody may see it yet: set UI_TOKEN (`openssl rand -hex 16` makes one)'
  return `${adminUrlOf(app)}/`
}

function adminUrlOf({ adminAddress, server }: FastifyInstance): string {
  return withLoopback(urlOfAddress(adminAddress ?? (server.address() as AddressInfo)))
}

function withLoopback(url: string): string {
  return url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
}
