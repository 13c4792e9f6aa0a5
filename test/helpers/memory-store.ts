/** Objects in memory, for tests that run the same work hundreds of times. It has no faults and no clock. */
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { ObjectNotFound } from '../../src/errors.ts'
import type { ByteRange, Created, ObjectStore, ReadAnswer } from '../../src/store/store.ts'

export class MemoryStore implements ObjectStore {
  readonly description = 'memory'
  readonly stats = { retries: 0, failedPuts: 0 }
  readonly inlineBytesMax = 0
  readonly #objects: Map<string, Buffer>

  constructor(objects: ReadonlyMap<string, Buffer> = new Map()) {
    this.#objects = new Map(objects)
  }

  copy(): MemoryStore {
    return new MemoryStore(this.#objects)
  }

  async check(): Promise<void> {}

  async create(key: string, body: Buffer): Promise<Created> {
    const outcome = this.#objects.has(key) ? 'exists' : 'created'
    if (outcome === 'created') this.#objects.set(key, body)
    return { outcome, date: undefined }
  }

  async replace(key: string, body: Buffer): Promise<void> {
    this.#objects.set(key, body)
  }

  async read(key: string, range?: ByteRange): Promise<ReadAnswer> {
    const whole = this.#objects.get(key)
    if (whole === undefined) return { object: undefined, date: undefined }
    const body = range === undefined ? whole : whole.subarray(range.start, range.start + range.length)
    return { object: { body, size: whole.length, modifiedAt: 0 }, date: undefined }
  }

  async put(key: string, body: Readable): Promise<number> {
    const bytes = await buffer(body)
    this.#objects.set(key, bytes)
    return bytes.length
  }

  async move(from: string, to: string): Promise<'moved' | 'gone'> {
    const body = this.#objects.get(from)
    if (body === undefined) return 'gone'
    this.#objects.delete(from)
    this.#objects.set(to, body)
    return 'moved'
  }

  moveAll(moves: readonly { readonly from: string; readonly to: string }[]): Promise<('moved' | 'gone')[]> {
    return Promise.all(moves.map(({ from, to }) => this.move(from, to)))
  }

  async remove(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#objects.delete(key)
  }

  async get(key: string): Promise<Readable> {
    const body = this.#objects.get(key)
    if (body === undefined) throw new ObjectNotFound(key)
    return Readable.from([body], { objectMode: false })
  }

  async *list(prefix: string): AsyncIterable<string> {
    const keys = [...this.#objects.keys()].filter(key => key.startsWith(prefix))
    yield* keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  }

  localPath(): undefined {}

  async close(): Promise<void> {}
}
