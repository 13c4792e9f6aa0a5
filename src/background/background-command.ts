/**
 * Runs a command of this program again and again beside an archiver. In a process of its own with a lower priority, so
 * that archiving is not slower.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { setPriority } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import { DirectoryInUse } from '../errors.ts'
import { lockDirectory } from '../process/directory-lock.ts'
import type { Logger } from '../process/logger.ts'
import { spawnedProgram } from '../process/own-program.ts'
import { sleep } from '../process/sleep.ts'

/** Of the first run after a start, at random: not all archivers begin at once. */
const FIRST_MS_MAX = 5_000
/** The lowest: what it does may wait. */
const PRIORITY = 19
const STOP_MS_MAX = 5_000
const OUTPUT_CHARS_MAX = 1_000_000
/** After a run that failed. */
const RETRY_MS = 10 * 60 * 1000

export interface BackgroundCommandParts {
  readonly config: Config
  readonly log: Logger
  /** Its report is one JSON value on standard output. */
  readonly args: readonly string[]
  /** Settings that only this command has. A flag of the server is not in its environment. */
  readonly env: NodeJS.ProcessEnv
  /** Below DATA_DIR. Of the processes that share it, one runs the command. */
  readonly lockName: string
  /** Between two runs. */
  readonly intervalMs: number
  /** Called with the report of a run that succeeded. */
  readonly done: (report: unknown) => void
  /** What is logged if a run fails. */
  readonly failure: string
}

export class BackgroundCommand {
  readonly #parts: BackgroundCommandParts
  readonly #stopping = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #child: ChildProcess | undefined
  #lastFailure: string | undefined

  constructor(parts: BackgroundCommandParts) {
    this.#parts = parts
  }

  start(): void {
    this.#running = this.#run()
  }

  /** Resolves when no process runs any more. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#child?.kill('SIGTERM')
    const kill = setTimeout(() => this.#child?.kill('SIGKILL'), STOP_MS_MAX)
    await this.#running
    clearTimeout(kill)
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    await sleep(Math.random() * FIRST_MS_MAX, signal)
    while (!signal.aborted) {
      await this.#runAlone().catch(error => this.#failed(String(error)))
      const { intervalMs } = this.#parts
      const pauseMs = this.#lastFailure === undefined ? intervalMs : Math.min(intervalMs, RETRY_MS)
      await sleep(pauseMs * (0.75 + Math.random() / 2), signal)
    }
  }

  /** Only one process of those that share DATA_DIR. */
  async #runAlone(): Promise<void> {
    const directory = join(this.#parts.config.dataDir, this.#parts.lockName)
    await mkdir(directory, { recursive: true })
    try {
      const lock = await lockDirectory(directory)
      await this.#runOnce().finally(() => lock.release())
    } catch (error) {
      if (!(error instanceof DirectoryInUse)) throw error
    }
  }

  async #runOnce(): Promise<void> {
    if (this.#stopping.signal.aborted) return
    const { code, stdout, stderr } = await this.#spawned()
    if (this.#stopping.signal.aborted) return
    const report = stdout === '' ? undefined : (JSON.parse(stdout) as { readonly reason?: string })
    if (report !== undefined) this.#parts.done(report)
    if (code === 0) this.#lastFailure = undefined
    else this.#failed(report?.reason ?? stderr.trim())
  }

  #spawned(): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
    return new Promise((resolve, reject) => {
      const { config, args, env } = this.#parts
      const child = spawn(process.execPath, spawnedProgram(args), {
        env: { ...process.env, ...archiveEnvironment(config), ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      this.#child = child
      lowerPriority(child)
      const output = { stdout: '', stderr: '' }
      for (const name of ['stdout', 'stderr'] as const)
        child[name].setEncoding('utf8').on('data', (text: string) => {
          output[name] = (output[name] + text).slice(-OUTPUT_CHARS_MAX)
        })
      child.once('error', reject)
      child.once('close', code => resolve({ code, ...output }))
    })
  }

  /** The same failure again is logged at debug. */
  #failed(reason: string): void {
    const level = reason === this.#lastFailure ? 'debug' : 'error'
    this.#lastFailure = reason
    this.#parts.log[level]({ reason }, this.#parts.failure)
  }
}

/** Where the archive is. */
function archiveEnvironment(config: Config): NodeJS.ProcessEnv {
  const { archive, dataDir, s3ForcePathStyle, s3IdleMsMax, queryCacheBytesMax } = config
  return {
    ARCHIVE_URL:
      archive.kind === 's3'
        ? `s3://${archive.bucket}/${archive.prefix.split('/').map(encodeURIComponent).join('/')}`
        : archive.path,
    DATA_DIR: dataDir,
    S3_FORCE_PATH_STYLE: String(s3ForcePathStyle),
    S3_IDLE_MS_MAX: String(s3IdleMsMax),
    QUERY_CACHE_BYTES_MAX: String(queryCacheBytesMax),
  }
}

function lowerPriority({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) setPriority(pid, PRIORITY)
  } catch {
    // It has ended, or the system does not allow it.
  }
}
