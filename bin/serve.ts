import cluster from 'node:cluster'
import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { createApp } from '../plugins/app.ts'
import { mayBeReachedByOthers } from '../plugins/ui.ts'
import type { Config } from '../src/config/config.ts'
import { isRefusal } from '../src/errors.ts'
import { createLogger } from '../src/process/logger.ts'
import { outputClosed } from './closed-output.ts'
import { asConfigInvalid, tryDirectories, tryPorts } from './preflight.ts'
import { leaveCluster, shutDownWhenTold } from './shutdown.ts'
import { superviseWorkers } from './workers.ts'

type Logger = ReturnType<typeof createLogger>

/**
 * Runs the server, or as many of it as `workers` says. Resolves once it listens, or for several once all are gone. What
 * ends it is a line in the log, and an exit code other than 0.
 */
export async function serve(config: Config): Promise<void> {
  const closed = outputClosed()
  const logClosed = new AbortController()
  const log = createLogger(config.logLevel, process.stdout.isTTY, () => logClosed.abort())
  process.on('uncaughtException', error => {
    endWith(error, log)
    process.exit()
  })
  try {
    await serveWith(config, log, AbortSignal.any([closed, logClosed.signal]))
  } catch (error) {
    endWith(error, log)
    leaveCluster()
  }
}

async function serveWith(config: Config, log: Logger, closed: AbortSignal): Promise<void> {
  await tryDirectories(config)
  await tryPorts(config)
  if (config.workers > 1 && cluster.isPrimary) {
    process.exitCode = await superviseWorkers(config, log, closed)
    return
  }
  const app = await openApp(config, log)
  shutDownWhenTold(app, config, closed)
  if (cluster.isPrimary || cluster.worker?.id === 1) process.stderr.write(greeting(app, config))
}

/** Goes to standard error where the log is silent: a process must not end without a word. */
function endWith(error: unknown, log: Logger): void {
  process.exitCode = 1
  const { message, stack } = error as Error
  if (!log.isLevelEnabled('fatal')) process.stderr.write(`frequency: ${isRefusal(error) ? message : stack}\n`)
  else if (isRefusal(error)) log.fatal({ code: error.code }, message)
  else log.fatal({ err: error }, 'An error that nobody expected ends the process.')
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
    return 'nobody may see it yet: set UI_TOKEN (`openssl rand -hex 16` makes one)'
  return `${adminUrlOf(app)}/`
}

function adminUrlOf({ adminAddress, server }: FastifyInstance): string {
  return local(urlOfAddress(adminAddress ?? (server.address() as AddressInfo)))
}

function local(url: string): string {
  return url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
}
