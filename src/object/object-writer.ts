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

/** Events are copied together up to this size before they are compressed: a call to zlib costs far more than the copy. */
const CHUNK_BYTES = 256 * 1024
/** What is larger is written as it is: for this the copy, and the memory it takes, costs more than the call. */
const COPIED_BYTES_MAX = 16 * 1024
const NOTHING = Buffer.alloc(0)

export interface ObjectParts {
  readonly store: Pick<ObjectStore, 'put' | 'get' | 'inlineBytesMax'>
  /** The key of an object that is staged. */
  readonly keys: { stagedObject(nonce: string): string }
  readonly format: ArchiveFormat
  readonly compression: ArchiveCompression
  /**
   * Others commit too: bytes in a record would hold them up, and be sent for nothing where another has its number.
   * So what is small is staged, too; what was complete before, by the committer.
   */
  isShared(): boolean
}

/** The bytes of an object, as it will be stored: here, or staged. */
export interface ObjectContent {
  /** Nobody else's; it makes the object's key. */
  readonly nonce: string
  readonly sha256: string
  readonly storedBytes: number
  /** Undefined where it is staged. */
  readonly body: Buffer | undefined
  readonly staged: string | undefined
}

/**
 * Makes an object of events. They are copied into chunks and compressed as they come. What comes out is kept
 * while it is small; once it is larger it is staged in the store, and a bounded part of it held.
 */
export class ObjectWriter {
  readonly nonce = randomUUID()
  /** Settles when the content is complete, or is not going to be. A no-op `catch` is attached. */
  readonly content: Promise<ObjectContent>
  readonly #framing: Framing
  readonly #compressor: Transform
  #chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  #chunkLength = 0
  #events = 0
  #bytes = 0
  #isBlocked = false

  /** @param drained called when the writer, having been blocked, takes events again. */
  constructor(parts: ObjectParts, drained: () => void) {
    this.#framing = framingOf(parts.format)
    this.#compressor = createCompressor(parts.compression)
    this.#compressor.on('drain', () => {
      this.#isBlocked = false
      drained()
    })
    // Whoever reads the stream hears of it; without a listener the stream would throw it.
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

  /** True while events should wait, because what follows is slower than they come. */
  get isBlocked(): boolean {
    return this.#isBlocked
  }

  /** Resolves when it is not blocked. @throws what it was given up for */
  async unblocked(): Promise<void> {
    if (this.#isBlocked) await Promise.race([once(this.#compressor, 'drain'), this.content])
  }

  /** @param event its JSON, or that of several, as the framing joins them */
  add(event: Buffer, count = 1): void {
    this.#append(this.#events === 0 ? this.#framing.before : this.#framing.between)
    this.#append(event)
    this.#events += count
  }

  end(): Promise<ObjectContent> {
    this.#append(this.#framing.after)
    this.#flush()
    // A batch that waits to be archived holds this writer.
    this.#chunk = NOTHING
    this.#compressor.end()
    return this.content
  }

  discard(): void {
    this.#compressor.destroy(new Error('the batch was given up'))
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
    Readable.from(all(chunks, source, digest), { objectMode: false }),
  )
  return { nonce, sha256: digest.digest('hex'), storedBytes, body: undefined, staged }
}

/** What was read, then the rest as it comes. */
async function* all(
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
