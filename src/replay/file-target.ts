import { type FileHandle, open } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { ReplayStopped } from '../errors.ts'
import type { EventRequest } from './requests.ts'
import type { RefusedEvent, ReplayTarget } from './target.ts'

const LINE_END = Buffer.from('\n')

/** Appends lines to a file, from a length that is known. */
export class LinesFile {
  readonly #file: FileHandle
  readonly #path: string
  bytes: number

  private constructor(file: FileHandle, path: string, bytes: number) {
    this.#file = file
    this.#path = path
    this.bytes = bytes
  }

  /**
   * Opens or makes a file, and cuts it to this length: what follows was written by a run that was killed then.
   *
   * @throws ReplayStopped if it is shorter, cannot be written, or `bytes` is 0 and it has something else
   */
  static async open(option: string, path: string, bytes: number, mayReplace: boolean): Promise<LinesFile> {
    const file = await open(path, bytes === 0 ? 'a+' : 'r+').catch((error: NodeJS.ErrnoException) => {
      throw new ReplayStopped(`${option}: ${path} cannot be written: ${error.message}.`)
    })
    await file.close()
    const writable = await open(path, 'r+')
    const { size } = await writable.stat()
    const isForeign = bytes === 0 && size > 0 && !mayReplace
    if (isForeign || size < bytes) {
      await writable.close()
      throw new ReplayStopped(
        isForeign
          ? `${option}: ${path} has something already. Name another file, or remove it.`
          : `${option}: ${path} is shorter than the checkpoint says. --restart writes it anew.`,
      )
    }
    await writable.truncate(bytes)
    return new LinesFile(writable, path, bytes)
  }

  async append(lines: readonly Buffer[]): Promise<void> {
    const bytes = bytesOf(lines)
    try {
      for (let at = 0; at < bytes.length; ) {
        const { bytesWritten } = await this.#file.write(bytes, at, bytes.length - at, this.bytes + at)
        at += bytesWritten
      }
    } catch (error) {
      throw new ReplayStopped(`${this.#path} cannot be written: ${(error as Error).message}.`)
    }
    this.bytes += bytes.length
  }

  async sync(): Promise<void> {
    await this.#file.datasync()
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}

/** Writes events to a file, one a line. */
export class FileTarget implements ReplayTarget {
  readonly limits = { eventsMax: 1_000, bytesMax: 1024 * 1024 }
  readonly concurrency = 1
  readonly description: string
  readonly #file: LinesFile

  constructor(path: string, file: LinesFile) {
    this.description = path
    this.#file = file
  }

  get bytes(): number {
    return this.#file.bytes
  }

  async send({ events }: EventRequest): Promise<readonly RefusedEvent[]> {
    await this.#file.append(events)
    return []
  }

  async sync(): Promise<void> {
    await this.#file.sync()
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}

/** Writes events to a stream, one a line. */
export class StreamTarget implements ReplayTarget {
  readonly limits = { eventsMax: 1_000, bytesMax: 1024 * 1024 }
  readonly concurrency = 1
  readonly description = 'standard output'
  readonly #stream: Writable

  constructor(stream: Writable) {
    this.#stream = stream
  }

  async send({ events }: EventRequest): Promise<readonly RefusedEvent[]> {
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(bytesOf(events), error => (error ? reject(error) : resolve()))
    })
    return []
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

function bytesOf(lines: readonly Buffer[]): Buffer {
  return Buffer.concat(lines.flatMap(line => [line, LINE_END]))
}
