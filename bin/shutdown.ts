/** How a server ends. */
import cluster from 'node:cluster'
import type { FastifyInstance } from 'fastify'
import type { Config } from '../src/config/config.ts'
import { EXIT_CLOSED_OUTPUT } from './closed-output.ts'
import { STOP_AT_ONCE } from './workers.ts'

/**
 * The first SIGTERM or SIGINT, or a log that nobody reads any more, shuts the server down. A second signal, or a shutdown
 * that takes longer than `shutdownMsMax`, ends the process at once with exit code 1.
 */
export function shutDownWhenTold(app: FastifyInstance, { shutdownMsMax }: Config, closed: AbortSignal): void {
  let isShuttingDown = false
  const shutDown = (reason: string): void => {
    if (isShuttingDown) return
    isShuttingDown = true
    const startedAt = performance.now()
    app.log.info({ reason }, 'Shutting down.')
    // Hard deadline. `unref`, so that it does not delay a clean exit.
    setTimeout(() => {
      app.log.fatal(
        { shutdownMsMax },
        'The shutdown took too long: stopping at once. What is not archived stays in the queue.',
      )
      process.exit(1)
    }, shutdownMsMax).unref()
    app.close().then(
      () => {
        sayStopped(app, performance.now() - startedAt)
        leaveCluster()
      },
      error => {
        app.log.fatal({ err: error }, 'The shutdown failed.')
        process.exit(1)
      },
    )
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
  const outputClosed = (): void => {
    if (!isShuttingDown) process.exitCode = EXIT_CLOSED_OUTPUT
    shutDown('standard output is closed')
  }
  if (closed.aborted) outputClosed()
  else closed.addEventListener('abort', outputClosed, { once: true })
}

/** Events that are left on disk are no failure: the next start archives them. */
function sayStopped(app: FastifyInstance, ms: number): void {
  const onDisk = app.queue.state.disks.reduce((sum, { size }) => sum + size, 0)
  const unacknowledged = app.hasDecorator('archiver') ? app.archiver.stats.held.events : 0
  const left = { ...(onDisk > 0 && { onDisk }), ...(unacknowledged > 0 && { unacknowledged }) }
  if (onDisk + unacknowledged === 0) app.log.info({ ms: Math.round(ms) }, 'Stopped.')
  else
    app.log.warn(
      { ms: Math.round(ms), ...left },
      'Stopped. Events are left in the queue: they are archived after the next start.',
    )
}

/** The channel to the primary would keep the process. */
export function leaveCluster(): void {
  if (cluster.worker?.isConnected()) cluster.worker.disconnect()
}
