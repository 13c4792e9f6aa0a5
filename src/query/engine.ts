import { type ChildProcess, execFile, fork } from 'node:child_process'
import { readFile, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { KIB, MIB } from '../config/setting-types.ts'
import { QueryFailed } from '../errors.ts'
import { createDeferred, type Deferred } from '../process/deferred.ts'
import { forkedProgram } from '../process/own-program.ts'
import { type EngineAddon, engineAddon } from './engine-addon.ts'
import {
  type Done,
  ENGINE_COMMAND,
  type EngineAnswer,
  type EngineOptions,
  type EngineRequest,
  type WithoutId,
  type Work,
} from './engine-messages.ts'
import { hintOf } from './error-hint.ts'

const MEMORY_CHECK_MS = 50
/** An engine that has not stopped this long after an interrupt is killed. */
const INTERRUPT_MS_MAX = 1_000
/** DuckDB counts most of what it allocates. The rest is for what it does not, and for Node. */
const COUNTED_SHARE = 0.6
const PAGE_BYTES = 4096
/** A query leaves this much to the queue, which may be on the same disk. */
const FREE_BYTES_MIN = 512 * MIB
const CHECKS_OF_DISK = 10

export interface EngineSettings
  extends Pick<EngineOptions, 'directory' | 'spillBytesMax' | 'threads' | 'isForUser' | 'keepsOrder'> {
  /** Resident bytes past which the process is killed. */
  readonly residentBytesMax: number
}

/** DuckDB in a process of its own. It is killed if it takes too much memory, or does not stop when it is told to. */
export class Engine {
  readonly #process: ChildProcess
  readonly #ready: Deferred<void> = createDeferred()
  readonly #work = new Map<number, Deferred<Done>>()
  readonly #residentBytesMax: number
  readonly #isForUser: boolean
  readonly #memoryTimer: NodeJS.Timeout
  #killTimer: NodeJS.Timeout | undefined
  readonly #directory: string
  #nextId = 0
  #checks = 0
  /** Why it ended, once it has. */
  #end: Error | undefined

  private constructor({ residentBytesMax, ...options }: EngineSettings, addon: EngineAddon) {
    this.#residentBytesMax = residentBytesMax
    this.#isForUser = options.isForUser
    this.#directory = options.directory
    const { script, args } = forkedProgram([ENGINE_COMMAND])
    this.#process = fork(script, args, {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      serialization: 'advanced',
      // No credentials: SQL of the user's has no way to them.
      env: { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR },
    })
    this.#process.on('message', (message: EngineAnswer) => this.#receive(message))
    this.#process.once('error', error => this.#ended(error))
    this.#process.once('exit', (code, signal) =>
      this.#ended(new QueryFailed(`The query engine ended unexpectedly (${signal ?? `exit code ${code}`}).`)),
    )
    this.#ready.promise.catch(() => {})
    this.#memoryTimer = setInterval(() => void this.#checkMemory(), MEMORY_CHECK_MS)
    const memoryBytesMax = Math.floor(residentBytesMax * COUNTED_SHARE)
    this.#send({ kind: 'open', options: { ...options, memoryBytesMax, addonPath: addon.path } })
  }

  /** @throws QueryFailed if DuckDB is not installed, or does not start */
  static async start(settings: EngineSettings): Promise<Engine> {
    // Beside the files of all runs, whose directory belongs to this user.
    const addon = await engineAddon(dirname(settings.directory))
    try {
      const engine = new Engine(settings, addon)
      await engine.#ready.promise
      return engine
    } finally {
      await addon.release()
    }
  }

  /** @throws QueryFailed in DuckDB's words, or if the process was killed */
  run(work: WithoutId<Work>): Promise<Done> {
    if (this.#end !== undefined) return Promise.reject(this.#end)
    const id = this.#nextId++
    const done = createDeferred<Done>()
    this.#work.set(id, done)
    this.#send({ ...work, id } as Work)
    return done.promise
  }

  get hasEnded(): boolean {
    return this.#end !== undefined
  }

  /** Stops what runs. Its promise is rejected within about a second. */
  interrupt(): void {
    if (this.#work.size === 0) return
    this.#send({ kind: 'interrupt' })
    this.#killTimer ??= setTimeout(() => this.#kill('The query was interrupted.'), INTERRUPT_MS_MAX)
  }

  async close(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = new Promise(resolve => this.#process.once('exit', resolve))
    this.#kill('The query engine was closed.')
    await exited
  }

  #send(request: EngineRequest): void {
    if (this.#process.connected) this.#process.send(request, () => {})
  }

  #receive(message: EngineAnswer): void {
    if (message.kind === 'ready') {
      this.#ready.resolve()
      return
    }
    if (message.kind === 'unavailable') {
      this.#ended(new QueryFailed(unavailable(message.message)))
      this.#process.kill('SIGKILL')
      return
    }
    const work = this.#work.get(message.id)
    this.#work.delete(message.id)
    if (this.#work.size === 0) this.#keepAlive()
    if (message.kind === 'done') work?.resolve(message)
    else work?.reject(this.#failed(message.message))
  }

  #failed(message: string): Error {
    const hint = this.#isForUser ? hintOf(message) : undefined
    return new QueryFailed(hint === undefined ? message : `${message}\n\n${hint}`)
  }

  #keepAlive(): void {
    clearTimeout(this.#killTimer)
    this.#killTimer = undefined
  }

  async #checkMemory(): Promise<void> {
    if (this.#checks++ % CHECKS_OF_DISK === 0 && (await freeBytes(this.#directory)) < FREE_BYTES_MIN)
      this.#kill('The disk of DATA_DIR is nearly full, and the query was stopped.')
    const bytes = await residentBytes(this.#process.pid)
    if (bytes > this.#residentBytesMax) {
      const size = `${Math.round(this.#residentBytesMax / MIB)} MiB`
      this.#kill(
        this.#isForUser
          ? `The query took more than ${size} of memory (QUERY_MEMORY_MAX), and was stopped.`
          : `The process that makes Parquet files took more than ${size} of memory, and was stopped.`,
      )
    }
  }

  #kill(reason: string): void {
    this.#ended(new QueryFailed(reason))
    this.#process.kill('SIGKILL')
  }

  #ended(error: Error): void {
    if (this.#end !== undefined) return
    this.#end = error
    clearInterval(this.#memoryTimer)
    this.#keepAlive()
    this.#ready.reject(error)
    for (const work of this.#work.values()) work.reject(error)
    this.#work.clear()
  }
}

function unavailable(message: string): string {
  if (/Cannot find (?:package|module)/.test(message))
    return 'Queries need DuckDB: npm install @duckdb/node-api. It is an optional dependency, and is not here.'
  if (message.includes('failed to map segment'))
    return `DuckDB does not start: ${message}. Put DATA_DIR on a file system that may run programs (not noexec).`
  return `DuckDB does not start: ${message}`
}

/** Infinity if it is not known. */
async function freeBytes(directory: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(directory)
    return bavail * bsize
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** 0 if it is not known. */
async function residentBytes(pid: number | undefined): Promise<number> {
  try {
    if (process.platform === 'linux') {
      const [, pages] = (await readFile(`/proc/${pid}/statm`, 'latin1')).split(' ')
      return Number(pages) * PAGE_BYTES
    }
    const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', String(pid)])
    return Number(stdout) * KIB
  } catch {
    return 0
  }
}
