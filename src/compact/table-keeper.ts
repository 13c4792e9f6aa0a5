/**
 * Keeps the table of an archive up to date beside an archiver: runs `frequency compact` when an hour is over, and now
 * and then for events that came late. In a process of its own with a lower priority, so that archiving is not slower.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { setPriority } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import { DirectoryInUse } from '../errors.ts'
import { lockDirectory } from '../process/directory-lock.ts'
import type { Logger } from '../process/logger.ts'
import { sleep } from '../process/sleep.ts'
import type { CompactionReport } from './compactor.ts'

/** Between two runs. */
const INTERVAL_MS = 10 * 60 * 1000
/** Of the first run after a start, at random: not all archivers begin at once. */
const FIRST_MS_MAX = 5_000
const PRIORITY = 10
const STOP_MS_MAX = 5_000
const OUTPUT_CHARS_MAX = 10_000

export interface TableKeeperParts {
  readonly config: Config
  readonly log: Logger
}

export class TableKeeper {
  readonly #parts: TableKeeperParts
  readonly #stopping = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #child: ChildProcess | undefined
  #lastFailure: string | undefined

  constructor(parts: TableKeeperParts) {
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
      await this.#compactAlone().catch(error => this.#failed(String(error)))
      await sleep(INTERVAL_MS * (0.75 + Math.random() / 2), signal)
    }
  }

  /** Only one process of those that share DATA_DIR. */
  async #compactAlone(): Promise<void> {
    const directory = join(this.#parts.config.dataDir, 'table-keeper')
    await mkdir(directory, { recursive: true })
    try {
      const lock = await lockDirectory(directory)
      await this.#compact().finally(() => lock.release())
    } catch (error) {
      if (!(error instanceof DirectoryInUse)) throw error
    }
  }

  async #compact(): Promise<void> {
    const { config, log } = this.#parts
    if (this.#stopping.signal.aborted) return
    const { code, stdout, stderr } = await this.#spawned(environmentOf(config))
    if (this.#stopping.signal.aborted) return
    const report = stdout === '' ? undefined : (JSON.parse(stdout) as CompactionReport)
    if (report !== undefined && report.files > 0)
      log.info(report, 'Hours that are over were added to the table.')
    if (code === 0) this.#lastFailure = undefined
    else this.#failed(report?.reason ?? stderr.trim())
  }

  #spawned(
    env: NodeJS.ProcessEnv,
  ): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
    return new Promise((resolve, reject) => {
      const program = [...process.execArgv, process.argv[1] as string, 'compact', '--json', '--no-progress']
      const child = spawn(process.execPath, program, {
        env: { ...process.env, ...env },
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
    this.#parts.log[level]({ reason }, 'The table was not brought up to date. The archive is not affected.')
  }
}

/** The settings of `frequency compact`. A flag of the server is not in its environment. */
function environmentOf(config: Config): NodeJS.ProcessEnv {
  const { archive, dataDir, s3ForcePathStyle, s3IdleMsMax, queryCacheBytesMax, batchAgeMsMax } = config
  return {
    ARCHIVE_URL:
      archive.kind === 's3'
        ? `s3://${archive.bucket}/${archive.prefix.split('/').map(encodeURIComponent).join('/')}`
        : archive.path,
    DATA_DIR: dataDir,
    S3_FORCE_PATH_STYLE: String(s3ForcePathStyle),
    S3_IDLE_MS_MAX: String(s3IdleMsMax),
    QUERY_CACHE_BYTES_MAX: String(queryCacheBytesMax),
    BATCH_AGE_MS_MAX: String(batchAgeMsMax),
    TABLE_COLUMNS: config.tableColumns ?? '',
  }
}

function lowerPriority({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) setPriority(pid, PRIORITY)
  } catch {
    // It has ended, or the system does not allow it.
  }
}
