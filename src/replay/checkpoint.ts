/**
 * How far a replay is, in a file. It has two lines of 1,024 bytes, which are written in turn, each with a digest: a line
 * that was cut short by a crash does not count, and the other one does.
 *
 * A line is written after each request, before the next one, so that a killed process has lost no answer. Each second it
 * is made durable (fdatasync), in the background: after a loss of power the requests of a second may be sent again.
 */

import { hash } from 'node:crypto'
import { fdatasync, writeSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { ReplayStopped } from '../errors.ts'
import { syncDirectory } from '../process/sync-directory.ts'
import type { TimeRange } from '../query/archive-batches.ts'
import type { Snapshot } from './snapshot.ts'

const LINE_BYTES = 1024
const SYNC_MS = 1_000

/** How far it is in the slice that is being sent. */
export interface SlicePosition extends TimeRange {
  readonly isUntimed: boolean
  /** Events of the slice that were sent or skipped; and a digest of the last one. */
  readonly lines: number
  readonly lastLine?: string | undefined
}

export interface ReplayState {
  /** Of what is sent, from where, to where. */
  readonly id: string
  /** What `--since` and `--until` meant when it began. */
  readonly range: TimeRange
  readonly snapshot: Snapshot
  readonly position: SlicePosition
  /** Events of the slices before, as the archive has them. */
  readonly counted: number
  readonly sent: number
  readonly skipped: number
  /** Lengths of the files that it writes. */
  readonly outputBytes: number
  readonly skippedBytes: number
  readonly isDone: boolean
}

interface Line {
  readonly sequence: number
  readonly state: ReplayState
}

export class Checkpoint {
  readonly #path: string
  readonly #fd: number
  readonly #close: () => Promise<void>
  readonly #beforeSync: () => Promise<void>
  #sequence: number
  #syncing: Promise<void> | undefined
  #syncedAtMs = performance.now()
  #isSynced = true

  private constructor(
    path: string,
    file: { readonly fd: number; close(): Promise<void> },
    sequence: number,
    beforeSync: () => Promise<void>,
  ) {
    this.#path = path
    this.#fd = file.fd
    this.#close = () => file.close()
    this.#sequence = sequence
    this.#beforeSync = beforeSync
  }

  /** @returns undefined if there is no file. @throws ReplayStopped if there is one, and it is not a checkpoint */
  static async read(path: string): Promise<ReplayState | undefined> {
    return (await lastLine(path))?.state
  }

  /**
   * Opens the file, or makes it with `state`.
   *
   * @param beforeSync resolves when what the checkpoint counts on is on disk
   */
  static async open(
    path: string,
    state: ReplayState,
    beforeSync: () => Promise<void> = () => Promise.resolve(),
  ): Promise<Checkpoint> {
    if ((await lastLine(path)) === undefined) await create(path, state)
    const sequence = (await lastLine(path))?.sequence ?? 0
    return new Checkpoint(path, await open(path, 'r+'), sequence, beforeSync)
  }

  /** The state survives a kill of this process when this returns. @throws ReplayStopped if it cannot be written */
  save(state: ReplayState): void {
    const sequence = ++this.#sequence
    try {
      writeSync(
        this.#fd,
        Buffer.from(lineOf({ sequence, state })),
        0,
        LINE_BYTES,
        (sequence % 2) * LINE_BYTES,
      )
    } catch (error) {
      throw new ReplayStopped(`The checkpoint ${this.#path} cannot be written: ${(error as Error).message}.`)
    }
    this.#isSynced = false
    if (performance.now() - this.#syncedAtMs >= SYNC_MS) this.#syncing ??= this.#sync()
  }

  async close(): Promise<void> {
    await this.#syncing
    if (!this.#isSynced) await this.#sync()
    await this.#close()
  }

  async #sync(): Promise<void> {
    try {
      await this.#beforeSync()
      this.#isSynced = true
      await promisify(fdatasync)(this.#fd)
    } catch {
      // The disk failed: the next write reports it.
      this.#isSynced = false
    } finally {
      this.#syncing = undefined
      this.#syncedAtMs = performance.now()
    }
  }
}

/** The last line whose digest is right. */
async function lastLine(path: string): Promise<Line | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new ReplayStopped(`The checkpoint ${path} cannot be read: ${error.message}.`)
  })
  if (text === undefined) return undefined
  const lines = text.split('\n').flatMap(line => parsed(line) ?? [])
  const [last] = lines.toSorted((a, b) => b.sequence - a.sequence)
  if (last === undefined)
    throw new ReplayStopped(`${path} is not a checkpoint of frequency replay. Name another, or remove it.`)
  return last
}

function parsed(line: string): Line | undefined {
  const [json = '', digest] = line.trimEnd().split('\t')
  if (digest !== digestOf(json)) return undefined
  return JSON.parse(json) as Line
}

/** A digest of a text, to recognise it. */
export function digestOf(text: string | Buffer): string {
  return hash('sha256', text).slice(0, 16)
}

function lineOf(line: Line): string {
  const json = JSON.stringify(line)
  return `${`${json}\t${digestOf(json)}`.padEnd(LINE_BYTES - 1)}\n`
}

async function create(path: string, state: ReplayState): Promise<void> {
  const temporary = `${path}.new`
  try {
    await mkdir(dirname(path), { recursive: true })
    const file = await open(temporary, 'w', 0o600)
    await file.writeFile(lineOf({ sequence: 0, state }).repeat(2))
    await file.sync()
    await file.close()
    await rename(temporary, path)
    await syncDirectory(dirname(path))
  } catch (error) {
    await rm(temporary, { force: true })
    throw new ReplayStopped(`The checkpoint ${path} cannot be written: ${(error as Error).message}.`)
  }
}
