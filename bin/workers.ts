/**
 * Several processes behind one port: the primary takes connections and hands them to the workers in
 * turn, and each worker is a whole `frequency serve`.
 *
 *   starting ──(the first listens)──► running ──(signal)──► ending ──(all are gone)──► exit
 *       └──(it exits)──► exit, with its code
 *
 * Starting: one worker shows that the settings are good, or says what to mend; then the others follow.
 * Running: a worker that exits is replaced, later each time that this happens soon again.
 * Ending: each worker gets a SIGTERM, which ends one that is still starting as well: a message would not
 * reach it before it has its listeners, which may take as long as its store is away. A terminal or a
 * service manager may have sent a signal to every process already, so a second one says nothing to a worker.
 * To the primary it means to stop at once, and it tells the workers so by a message.
 */

import cluster, { type Worker } from 'node:cluster'
import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../src/config/config.ts'
import type { Logger } from '../src/process/logger.ts'
import { relayQuestions } from '../src/process/worker-messages.ts'
import { EXIT_CLOSED_OUTPUT } from './closed-output.ts'

/** What the primary says to a worker that is to end without a shutdown. */
export const STOP_AT_ONCE = 'stop at once'

const REPLACE_MS_MIN = 200
const REPLACE_MS_MAX = 30_000
/** What a worker ends by that was told to end while it was starting. */
const TOLD = new Set<string | null>(['SIGTERM', 'SIGINT'])
/** A worker that has lived so long is not failing again and again. */
const STEADY_MS = 60_000
/** What the primary adds to the time that its workers have for themselves. */
const GRACE_MS = 2_000

/**
 * Resolves, when all workers are gone, to the exit code of the whole.
 *
 * @param closed ends all, as a signal does: nobody reads the log any more
 */
export function superviseWorkers(config: Config, log: Logger, closed: AbortSignal): Promise<number> {
  return new Supervisor(config, log, closed).run()
}

interface Ending {
  readonly code: number | null
  readonly signal: string | null
  /** Why it could not even be started. */
  readonly err?: Error
}

class Supervisor {
  readonly #config: Config
  readonly #log: Logger
  readonly #closed: AbortSignal
  readonly #ending = new AbortController()
  /** Not `cluster.workers`, where one that could not be started stays for ever. */
  readonly #workers = new Set<Worker>()
  #hasStarted = false
  #exitCode = 0
  #failures = 0
  /** By a clock that does not step; undefined until it was told to end. */
  #endedAt: number | undefined
  /** Replacements that are waited for. */
  #due = 0
  #finish: (exitCode: number) => void = () => {}

  constructor(config: Config, log: Logger, closed: AbortSignal) {
    this.#config = config
    this.#log = log
    this.#closed = closed
  }

  async run(): Promise<number> {
    cluster.once('listening', () => {
      this.#hasStarted = true
      for (let n = 1; n < this.#config.workers && !this.#ending.signal.aborted; n++) this.#fork()
    })
    relayQuestions({ metrics: keepWhatGrows })
    this.#fork()
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.#end(signal))
    this.#closed.addEventListener('abort', () => this.#endUnread(), { once: true })
    const exitCode = await new Promise<number>(resolve => {
      this.#finish = resolve
    })
    if (this.#endedAt !== undefined) {
      const ms = Math.round(performance.now() - this.#endedAt)
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
      this.#exited({ code: 1, signal: null, err: error as Error }, 0)
      return
    }
    this.#workers.add(worker)
    const ended = (ending: Ending): void => {
      if (this.#workers.delete(worker)) this.#exited(ending, performance.now() - startedAt)
    }
    worker.on('exit', (code, signal) => ended({ code, signal }))
    // One for which there is no process, or no pipe, has an error and no exit.
    worker.on('error', err => worker.process.pid ?? ended({ code: 1, signal: null, err }))
  }

  #exited({ code, signal, err }: Ending, lifeMs: number): void {
    const isEnding = this.#ending.signal.aborted
    if (isEnding || !this.#hasStarted) {
      if (err !== undefined) this.#log.fatal({ err }, 'A worker cannot be started.')
      if (code !== 0 && !(isEnding && TOLD.has(signal))) this.#exitCode ||= code ?? 1
      if (this.#isOver) this.#finish(this.#exitCode)
      return
    }
    this.#failures = lifeMs > STEADY_MS ? 0 : this.#failures + 1
    const ms = Math.min(REPLACE_MS_MAX, REPLACE_MS_MIN * 2 ** this.#failures)
    this.#log.error({ code, signal, err, ms }, 'A worker has ended, and is replaced.')
    void this.#replaceIn(ms)
  }

  async #replaceIn(ms: number): Promise<void> {
    this.#due++
    await delay(ms, undefined, { signal: this.#ending.signal }).catch(() => {})
    this.#due--
    if (!this.#ending.signal.aborted) this.#fork()
    else if (this.#isOver) this.#finish(this.#exitCode)
  }

  get #isOver(): boolean {
    return this.#due === 0 && this.#workers.size === 0
  }

  #endUnread(): void {
    if (this.#ending.signal.aborted) return
    this.#exitCode ||= EXIT_CLOSED_OUTPUT
    this.#end('standard output is closed')
  }

  #end(reason: string): void {
    if (this.#ending.signal.aborted) {
      // One that has just ended cannot be told, and need not be.
      for (const worker of this.#workers) if (worker.isConnected()) worker.send(STOP_AT_ONCE, () => {})
      return
    }
    this.#endedAt = performance.now()
    this.#log.info({ reason, workers: this.#workers.size }, 'Stopping all workers.')
    this.#ending.abort()
    this.#kill('SIGTERM')
    setTimeout(() => this.#kill('SIGKILL'), this.#config.shutdownMsMax + GRACE_MS).unref()
    if (this.#isOver) this.#finish(this.#exitCode)
  }

  #kill(signal: NodeJS.Signals): void {
    for (const worker of this.#workers) worker.process.kill(signal)
  }
}

/** A sum over workers that fell when one of them is gone would look to Prometheus as if all had begun anew. */
async function keepWhatGrows(departed: unknown, last: unknown): Promise<unknown> {
  const { countersOf } = await import('../src/observability/exposition.ts')
  return countersOf([departed ?? [], last] as object[][])
}
