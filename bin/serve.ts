import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { createApp } from '../plugins/app.ts'
import type { Config } from '../src/config.ts'
import { ConfigInvalid } from '../src/errors.ts'
import { createLogger } from '../src/logger.ts'

/**
 * Runs the server. Resolves once it listens; the first SIGTERM or SIGINT shuts it down, and a second
 * one, or a shutdown that takes longer than `shutdownMsMax`, ends the process at once with exit code 1.
 *
 * @throws ConfigInvalid for a setting that cannot work.
 */
export async function serve(config: Config): Promise<void> {
  const log = createLogger(config.logLevel, process.stdout.isTTY)
  const app = await createApp(config, log)
  try {
    await app.listen({ host: config.host, port: config.port })
  } catch (error) {
    await app.close()
    throw asConfigInvalid(error, config)
  }
  shutDownOnSignal(app, config)
  process.stderr.write(greeting(app, config))
}

function shutDownOnSignal(app: FastifyInstance, { shutdownMsMax }: Config): void {
  let isShuttingDown = false
  const onSignal = (signal: NodeJS.Signals): void => {
    if (isShuttingDown) {
      app.log.fatal({ signal }, 'A second signal: stopping at once.')
      process.exit(1)
    }
    isShuttingDown = true
    app.log.info({ signal }, 'Shutting down.')
    // It lets the process end by itself, and bounds all that may keep it.
    setTimeout(() => {
      app.log.fatal(
        { shutdownMsMax },
        'The shutdown took too long: stopping at once. What is not archived stays in the queue.',
      )
      process.exit(1)
    }, shutdownMsMax).unref()
    app.close().catch(error => {
      app.log.fatal({ err: error }, 'The shutdown failed.')
      process.exit(1)
    })
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
}

function greeting(app: FastifyInstance, { role }: Config): string {
  const url = urlOf(app)
  const lines = [`frequency listens on ${url} (role: ${role})`, `  queue    ${app.queue.description}`]
  if (app.hasDecorator('store')) lines.push(`  archive  ${app.store.description}`)
  if (role !== 'archive') {
    lines.push(
      'Try it:',
      `  curl -i ${url}/api/t -H 'content-type: application/json' -d '{"event":"signed_up","user_id":"42"}'`,
    )
  }
  return `${lines.join('\n')}\n`
}

function urlOf(app: FastifyInstance): string {
  const { address, family, port } = app.server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

function asConfigInvalid(error: unknown, { host, port }: Config): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'EADDRINUSE') return new ConfigInvalid(`PORT: ${host}:${port} is in use by another program.`)
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return new ConfigInvalid(`HOST: ${host} is no address of this machine.`)
  if (code === 'EACCES') return new ConfigInvalid(`PORT: this user may not listen on ${host}:${port}.`)
  return error
}
