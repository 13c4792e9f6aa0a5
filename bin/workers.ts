/**
 * Several processes behind one port. The primary accepts connections and hands them to the workers in turn. Each worker
 * is a complete `frequency serve`.
 *
 *   starting ──(the first worker listens)──► running ──(signal)──► stopping ──(all workers have exited)──► exit
 *       └──(the first worker exits)──► exit, with its code
 *
 * Starting: the first worker shows that the settings work, or logs what is wrong. Then the others are started.
 * Running: a worker that exits is replaced. The delay grows if workers exit soon after their start.
 * Stopping: each worker gets a SIGTERM. It also ends a worker that is still starting. A message would not do that: a
 * worker listens for messages only when it has started, and its start waits for its store.
 *
 * A terminal or a service manager may send a signal to every process at once, so a worker ignores a second signal. The
 * primary takes a second signal as the order to stop at once, and sends `STOP_AT_ONCE` to the workers.
 */

import cluster, { type Worker } from 'node:cluster'
import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../src/config/config.ts'
import type { Logger } from '../src/process/logger.ts'
import { forkedProgram } from '../src/process/own-program.ts'
import type { ServiceManager } from '../src/process/service-manager.ts'
import { relayQuestions } from '../src/process/worker-messages.ts'
import { EXIT_CLOSED_OUTPUT } from './closed-output.ts'

/** The message on which a worker exits without a shutdown. */
export const STOP_AT_ONCE = 'stop at once'

const REPLACE_MS_MIN = 200
const REPLACE_MS_MAX = 30_000
/** A worker that is stopped while it starts has no handler yet, so the signal itself ends it. */
const STOP_SIGNALS = new Set<string | null>(['SIGTERM', 'SIGINT'])
/** After a worker has run for this long, the replacement delay starts at its minimum again. */
const STEADY_MS = 60_000
/** Workers end themselves after `shutdownMsMax`. The primary kills them this much later. */
const GRACE_MS = 2_000
/** How much longer than `shutdownMsMax` systemd waits. The primary has killed its workers before that. */
export const STOP_GRACE_MS = 2 * GRACE_MS

/**
 * Starts the workers and replaces those that exit, until a signal comes.
 *
 * @param closed aborted when the log can no longer be written; stops the workers like a signal
 * @returns the exit code of the primary, when all workers have exited
 */
export function superviseWorkers(
  config: Config,
  log: Logger,
  manager: ServiceManager,
  closed: AbortSignal,
): Promise<number> {
  return new Supervisor(config, log, manager, closed).run()
}

interface WorkerExit {
  readonly code: number | null
  readonly signal: string | null
  /** Set if the process could not be started. */
  readonly err?: Error
}

class Supervisor {
  readonly #config: Config
  readonly #log: Logger
  readonly #manager: ServiceManager
  readonly #closed: AbortSignal
  readonly #stopping = new AbortController()
  /** Not `cluster.workers`: a worker that could not be started stays in it for ever. */
  readonly #workers = new Set<Worker>()
  #hasStarted = false
  #exitCode = 0
  #failures = 0
  /** Of `performance.now()`, in milliseconds. */
  #stoppingSince: number | undefined
  #pendingReplacements = 0
  #finish: (exitCode: number) => void = () => {}

  constructor(config: Config, log: Logger, manager: ServiceManager, closed: AbortSignal) {
    this.#config = config
    this.#log = log
    this.#manager = manager
    this.#closed = closed
  }

  async run(): Promise<number> {
    const { script, args } = forkedProgram(process.argv.slice(2))
    cluster.setupPrimary({ exec: script, args })
    cluster.once('listening', () => {
      this.#hasStarted = true
      this.#manager.ready(`${this.#config.workers} workers`)
      for (let n = 1; n < this.#config.workers && !this.#stopping.signal.aborted; n++) this.#fork()
    })
    relayQuestions({ metrics: keepCounters })
    this.#fork()
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.#stop(signal))
    this.#closed.addEventListener('abort', () => this.#stopOnClosedOutput(), { once: true })
    const exitCode = await new Promise<number>(resolve => {
      this.#finish = resolve
    })
    if (this.#stoppingSince !== undefined) {
      const ms = Math.round(performance.now() - this.#stoppingSince)
      this.#log.info({ ms, exitCode }, 'All workers have stopped.')
    }
    return exitCode
  }

  #fork(): void {
    const startedAt = performance.now()
    let worker: Worker
    try {
      worker = cluster.fork()
    } catch (error) {
      this.#onExit({ code: 1, signal: null, err: error as Error }, 0)
      return
    }
    this.#workers.add(worker)
    const exited = (exit: WorkerExit): void => {
      if (this.#workers.delete(worker)) this.#onExit(exit, performance.now() - startedAt)
    }
    worker.on('exit', (code, signal) => exited({ code, signal }))
    // If the process or its pipe cannot be created, there is an `error` event and no `exit` event.
    worker.on('error', err => worker.process.pid ?? exited({ code: 1, signal: null, err }))
  }

  #onExit({ code, signal, err }: WorkerExit, ranMs: number): void {
    const isStopping = this.#stopping.signal.aborted
    if (isStopping || !this.#hasStarted) {
      if (err !== undefined) this.#log.fatal({ err }, 'A worker cannot be started.')
      if (code !== 0 && !(isStopping && STOP_SIGNALS.has(signal))) this.#exitCode ||= code ?? 1
      if (this.#isOver) this.#finish(this.#exitCode)
      return
    }
    this.#failures = ranMs > STEADY_MS ? 0 : this.#failures + 1
    const ms = Math.min(REPLACE_MS_MAX, REPLACE_MS_MIN * 2 ** this.#failures)
    this.#log.error({ code, signal, err, ms }, 'A worker has exited. Replacing it.')
    void this.#replaceIn(ms)
  }

  async #replaceIn(ms: number): Promise<void> {
    this.#pendingReplacements++
    await delay(ms, undefined, { signal: this.#stopping.signal }).catch(() => {})
    this.#pendingReplacements--
    if (!this.#stopping.signal.aborted) this.#fork()
    else if (this.#isOver) this.#finish(this.#exitCode)
  }

  get #isOver(): boolean {
    return this.#pendingReplacements === 0 && this.#workers.size === 0
  }

  #stopOnClosedOutput(): void {
    if (this.#stopping.signal.aborted) return
    this.#exitCode ||= EXIT_CLOSED_OUTPUT
    this.#stop('standard output is closed')
  }

  #stop(reason: string): void {
    if (this.#stopping.signal.aborted) {
      // If the worker exits meanwhile, `send` fails. The no-op callback ignores that.
      for (const worker of this.#workers) if (worker.isConnected()) worker.send(STOP_AT_ONCE, () => {})
      return
    }
    this.#stoppingSince = performance.now()
    this.#log.info({ reason, workers: this.#workers.size }, 'Stopping all workers.')
    this.#stopping.abort()
    this.#manager.stopping(this.#config.shutdownMsMax + STOP_GRACE_MS)
    this.#kill('SIGTERM')
    setTimeout(() => this.#kill('SIGKILL'), this.#config.shutdownMsMax + GRACE_MS).unref()
    if (this.#isOver) this.#finish(this.#exitCode)
  }

  #kill(signal: NodeJS.Signals): void {
    for (const worker of this.#workers) worker.process.kill(signal)
  }
}

/**
 * Adds the counters of an exited worker to the retained ones. Without them the sums over all workers would fall, which
 * Prometheus takes for a counter reset.
 */
async function keepCounters(retained: unknown, last: unknown): Promise<unknown> {
  const { countersOf } = await import('../src/observability/exposition.ts')
  return countersOf([retained ?? [], last] as object[][])
}
