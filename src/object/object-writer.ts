import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { Readable, type Transform } from 'node:stream'
import type { ObjectStore } from '../store/store.ts'
import {
  type ArchiveCompression,
  type ArchiveFormat,
  createCompressor,
  type Framing,
  framingOf,
} from './format.ts'

/** Events are copied into chunks of this size before they are compressed: a call to zlib costs far more than a copy. */
const CHUNK_BYTES = 256 * 1024
/** Larger events are written without a copy: the copy and its memory would cost more than the call. */
const COPIED_BYTES_MAX = 16 * 1024
const NOTHING = Buffer.alloc(0)

export interface ObjectParts {
  readonly store: Pick<ObjectStore, 'put' | 'get' | 'inlineBytesMax'>
  /** Gives the key of a staged object. */
  readonly keys: { stagedObject(nonce: string): string }
  readonly format: ArchiveFormat
  readonly compression: ArchiveCompression
  /**
   * Whether other writers commit too. Then small objects are staged as well: their bytes in a record would delay the
   * others, and would be sent in vain if another record takes the number. The committer stages those that were complete
   * before.
   */
  isShared(): boolean
}

/** The bytes of an object before it is stored at its key: either in memory or staged. */
export interface ObjectContent {
  /** A UUID that is part of the object's key. */
  readonly nonce: string
  readonly sha256: string
  readonly storedBytes: number
  /** Undefined if it is staged. */
  readonly body: Buffer | undefined
  /** The key of the staged object; undefined if it is in memory. */
  readonly staged: string | undefined
}

/**
 * Makes an object of events. Compresses them as they come. The result stays in memory if it is small. A larger one is
 * uploaded as a staged object, with a bounded part of it in memory.
 */
export class ObjectWriter {
  readonly nonce = randomUUID()
  /** Resolves when the content is complete; rejects if that fails. A no-op `catch` is attached. */
  readonly content: Promise<ObjectContent>
  readonly #framing: Framing
  readonly #compressor: Transform
  #chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  #chunkLength = 0
  #events = 0
  #bytes = 0
  #isBlocked = false

  /** @param drained called when the writer is no longer blocked */
  constructor(parts: ObjectParts, drained: () => void) {
    this.#framing = framingOf(parts.format)
    this.#compressor = createCompressor(parts.compression)
    this.#compressor.on('drain', () => {
      this.#isBlocked = false
      drained()
    })
    // `content` rejects with the error. Without a listener, the stream would throw it.
    this.#compressor.on('error', () => {})
    this.content = collect(this.#compressor, this.nonce, parts)
    this.content.catch(() => {})
  }

  get events(): number {
    return this.#events
  }

  /** Before compression. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether events should wait, because compression or upload is slower than they come. */
  get isBlocked(): boolean {
    return this.#isBlocked
  }

  /** Resolves when it is not blocked. @throws the error with which `content` rejects */
  async unblocked(): Promise<void> {
    if (this.#isBlocked) await Promise.race([once(this.#compressor, 'drain'), this.content])
  }

  /** @param event the JSON of `count` events, joined as the framing joins them */
  add(event: Buffer, count = 1): void {
    this.#append(this.#events === 0 ? this.#framing.before : this.#framing.between)
    this.#append(event)
    this.#events += count
  }

  end(): Promise<ObjectContent> {
    this.#append(this.#framing.after)
    this.#flush()
    // Frees the memory: a batch keeps this writer until it is archived.
    this.#chunk = NOTHING
    this.#compressor.end()
    return this.content
  }

  discard(): void {
    this.#compressor.destroy(new Error('the batch was discarded'))
  }

  #append(bytes: Buffer): void {
    this.#bytes += bytes.length
    const isCopied = bytes.length <= COPIED_BYTES_MAX
    if (!isCopied || this.#chunkLength + bytes.length > this.#chunk.length) this.#flush()
    if (isCopied) this.#chunkLength += bytes.copy(this.#chunk, this.#chunkLength)
    else this.#write(bytes)
  }

  #flush(): void {
    if (this.#chunkLength === 0) return
    this.#write(this.#chunk.subarray(0, this.#chunkLength))
    const rest = this.#chunk.subarray(this.#chunkLength)
    this.#chunk = rest.length < COPIED_BYTES_MAX ? Buffer.allocUnsafe(CHUNK_BYTES) : rest
    this.#chunkLength = 0
  }

  #write(bytes: Buffer): void {
    if (!this.#compressor.write(bytes)) this.#isBlocked = true
  }
}

async function collect(
  compressed: Transform,
  nonce: string,
  { store, keys, isShared }: ObjectParts,
): Promise<ObjectContent> {
  const digest = createHash('sha256')
  const chunks: Buffer[] = []
  let length = 0
  const source = compressed[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  while (length <= store.inlineBytesMax) {
    const { done, value } = await source.next()
    if (done && !isShared())
      return {
        nonce,
        sha256: digest.digest('hex'),
        storedBytes: length,
        body: Buffer.concat(chunks),
        staged: undefined,
      }
    if (done) break
    digest.update(value)
    chunks.push(value)
    length += value.length
  }
  const staged = keys.stagedObject(nonce)
  const storedBytes = await store.put(
    staged,
    Readable.from(chunksAndRest(chunks, source, digest), { objectMode: false }),
  )
  return { nonce, sha256: digest.digest('hex'), storedBytes, body: undefined, staged }
}

/** Yields the chunks that were read, then the rest of the source. */
async function* chunksAndRest(
  chunks: Buffer[],
  source: AsyncIterator<Buffer>,
  digest: { update(bytes: Buffer): unknown },
): AsyncIterable<Buffer> {
  for (let chunk = chunks.shift(); chunk !== undefined; chunk = chunks.shift()) yield chunk
  for (;;) {
    const { done, value } = await source.next()
    if (done) return
    digest.update(value)
    yield value
  }
}
