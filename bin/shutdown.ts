/** Ends a server on a signal or a closed log. */
import cluster from 'node:cluster'
import type { FastifyInstance } from 'fastify'
import type { Config } from '../src/config/config.ts'
import type { ServiceManager } from '../src/process/service-manager.ts'
import { EXIT_CLOSED_OUTPUT } from './closed-output.ts'
import { STOP_AT_ONCE, STOP_GRACE_MS } from './workers.ts'

/**
 * Shuts the server down on the first SIGTERM or SIGINT, or when the reader of the log closes it. A second signal, or a
 * shutdown that takes longer than `shutdownMsMax`, ends the process at once with exit code 1.
 *
 * @param closed aborted when the log can no longer be written
 */
export function shutDownOnSignal(
  app: FastifyInstance,
  { shutdownMsMax }: Config,
  manager: ServiceManager,
  closed: AbortSignal,
): void {
  let isShuttingDown = false
  const shutDown = (reason: string): void => {
    if (isShuttingDown) return
    isShuttingDown = true
    const startedAt = performance.now()
    app.log.info({ reason }, 'Shutting down.')
    manager.stopping(shutdownMsMax + STOP_GRACE_MS)
    // Hard deadline. `unref`, so that it does not delay a clean exit.
    setTimeout(() => {
      app.log.fatal(
        { shutdownMsMax },
        'The shutdown took too long: stopping at once. Events that are not archived stay in the queue.',
      )
      process.exit(1)
    }, shutdownMsMax).unref()
    app.close().then(
      () => {
        logStopped(app, performance.now() - startedAt)
        leaveCluster()
      },
      error => {
        app.log.fatal({ err: error }, 'The shutdown failed.')
        process.exit(1)
      },
    )
  }
  const stopAtOnce = (reason: string): void => {
    app.log.fatal({ reason }, 'A second signal came: stopping at once.')
    process.exit(1)
  }
  if (cluster.isWorker) {
    process.on('SIGTERM', shutDown)
    // A terminal sends SIGINT to the whole process group. The primary gets it too, and sends SIGTERM to its workers.
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

/** Logs how long the shutdown took and how many events are left. They are not an error: the next start archives them. */
function logStopped(app: FastifyInstance, ms: number): void {
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

/** Disconnects a worker from its primary. The open channel would keep the process alive. */
export function leaveCluster(): void {
  if (cluster.worker?.isConnected()) cluster.worker.disconnect()
}
