/**
 * Several processes behind one port: the primary takes connections and hands them to the workers in
 * turn, and each worker is a whole `frequency serve`.
 *
 *   starting ──(the first listens)──► running ──(signal)──► ending ──(all are gone)──► exit
 *       └──(it exits)──► exit, with its code
 *
 * Starting: one worker shows that the settings are good, or says what to mend; then the others follow.
 * Running: a worker that exits is replaced, later each time that this happens soon again.
 * Ending: workers are told over IPC, and not by signals, since a terminal or a service manager may have
 * sent theirs to every process already, and a second signal means to stop at once.
 */

import cluster from 'node:cluster'
import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../src/config.ts'
import type { Logger } from '../src/logger.ts'
import { relayQuestions } from '../src/siblings.ts'

/** What the primary says to a worker; said again, it means at once. */
export const SHUT_DOWN = 'shut down'

const REPLACE_MS_MIN = 200
const REPLACE_MS_MAX = 30_000
/** A worker that has lived so long is not failing again and again. */
const STEADY_MS = 60_000
/** What the primary adds to the time that its workers have for themselves. */
const GRACE_MS = 2_000

/** Resolves, when all workers are gone, to the exit code of the whole. */
export function superviseWorkers(config: Config, log: Logger): Promise<number> {
  return new Supervisor(config, log).run()
}

class Supervisor {
  readonly #config: Config
  readonly #log: Logger
  readonly #ending = new AbortController()
  #hasStarted = false
  #exitCode = 0
  #failures = 0
  /** Replacements that are waited for. */
  #due = 0
  #finish: (exitCode: number) => void = () => {}

  constructor(config: Config, log: Logger) {
    this.#config = config
    this.#log = log
  }

  run(): Promise<number> {
    cluster.once('listening', () => {
      this.#hasStarted = true
      for (let n = 1; n < this.#config.workers && !this.#ending.signal.aborted; n++) this.#fork()
    })
    relayQuestions({ metrics: keepWhatGrows })
    this.#fork()
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.#end())
    return new Promise(resolve => {
      this.#finish = resolve
    })
  }

  #fork(): void {
    const startedAt = performance.now()
    const worker = cluster.fork()
    worker.once('exit', (code, signal) => this.#exited(code ?? 1, signal, performance.now() - startedAt))
  }

  #exited(code: number, signal: string | null, lifeMs: number): void {
    const hasFailed = code !== 0 || signal !== null
    if (this.#ending.signal.aborted || !this.#hasStarted) {
      if (hasFailed) this.#exitCode ||= code || 1
      if (this.#isOver) this.#finish(this.#exitCode)
      return
    }
    this.#failures = lifeMs > STEADY_MS ? 0 : this.#failures + 1
    const ms = Math.min(REPLACE_MS_MAX, REPLACE_MS_MIN * 2 ** this.#failures)
    this.#log.error({ code, signal, ms }, 'A worker has ended, and is replaced.')
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
    return this.#due === 0 && Object.keys(cluster.workers ?? {}).length === 0
  }

  #end(): void {
    for (const worker of Object.values(cluster.workers ?? {})) {
      if (worker?.isConnected()) worker.send(SHUT_DOWN)
    }
    if (this.#ending.signal.aborted) return
    this.#ending.abort()
    setTimeout(() => {
      for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGKILL')
    }, this.#config.shutdownMsMax + GRACE_MS).unref()
    if (this.#isOver) this.#finish(this.#exitCode)
  }
}

/** A sum over workers that fell when one of them is gone would look to Prometheus as if all had begun anew. */
async function keepWhatGrows(departed: unknown, last: unknown): Promise<unknown> {
  const { whatOnlyGrows } = await import('../src/metrics/exposition.ts')
  return whatOnlyGrows([departed ?? [], last] as object[][])
}
