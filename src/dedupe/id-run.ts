/**
 * A run: a file of ids in mixed form (id-mixer.ts), in order. It is written once, and never changed.
 *
 *     ids        16 bytes each
 *     starts     where each bucket begins, in ids, and where the last one ends: 4 bytes each
 *     checksums  CRC-32 of each bucket's ids: 4 bytes each
 *     tail       16 bytes: magic; how many bits of an id name its bucket; how many ids; CRC-32 of starts,
 *                checksums, and the tail before this field
 *
 * A bucket has the ids that begin with the same bits: 32 to 64 on average. So a look-up is one read of at most about a
 * kibibyte. `starts` and `checksums` stay in memory: an eighth to a quarter of a byte for each id. Numbers are in the
 * machine's byte order.
 */

import { readSync } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { ID_BYTES } from '../event/message-id.ts'
import { readFully, writeFully } from './file-io.ts'
import { ID_WORDS } from './id-mixer.ts'

const MAGIC = 0x31724446
const TAIL_WORDS = 4
const BUCKET_IDS = 64
const BUCKET_BITS_MAX = 26
/** At least one bit: a shift by 32 would shift by 0. */
const BUCKET_BITS_MIN = 1
const WRITE_IDS = 65_536
const DAMAGED = 'its content does not match its checksums'

/** The memory into which any run reads a bucket. Reads are synchronous, so there is one at a time. */
let bucketWords = new Uint32Array(1024 * ID_WORDS)
let bucketBytes = bytesOf(bucketWords)

/** The content of a run is damaged, or the disk cannot read it. */
export class RunUnreadable extends Error {
  readonly run: IdRun

  constructor(run: IdRun, cause: unknown) {
    super(`${run.path} cannot be read: ${(cause as Error).message}`, { cause })
    this.run = run
  }
}

export class IdRun {
  readonly number: number
  readonly path: string
  readonly size: number
  readonly #file: FileHandle
  readonly #descriptor: number
  readonly #shift: number
  readonly #starts: Uint32Array
  readonly #checksums: Uint32Array

  constructor(number: number, path: string, file: FileHandle, index: RunIndex) {
    this.number = number
    this.path = path
    this.size = index.starts.at(-1) as number
    this.#file = file
    this.#descriptor = file.fd
    this.#shift = 32 - index.bits
    this.#starts = index.starts
    this.#checksums = index.checksums
  }

  /** Reads the disk synchronously. @param from where the id begins in `id`, in words @throws RunUnreadable */
  has(id: Uint32Array, from = 0): boolean {
    const first = id[from] as number
    const bucket = first >>> this.#shift
    const start = this.#starts[bucket] as number
    const count = (this.#starts[bucket + 1] as number) - start
    if (count === 0) return false
    if (count * ID_WORDS > bucketWords.length) {
      bucketWords = new Uint32Array(count * ID_WORDS)
      bucketBytes = bytesOf(bucketWords)
    }
    this.#readBucket(bucket, start * ID_BYTES, count * ID_BYTES)
    const words = bucketWords
    for (let at = 0; at < count * ID_WORDS; at += ID_WORDS) {
      const isSame =
        words[at] === first &&
        words[at + 1] === id[from + 1] &&
        words[at + 2] === id[from + 2] &&
        words[at + 3] === id[from + 3]
      if (isSame) return true
    }
    return false
  }

  /** How many words `read` needs as its target. It reads whole buckets, so these are a few more than the ids have. */
  wordsOf(low: number, high: number): number {
    const { first, end } = this.#bucketsOf(low, high)
    return ((this.#starts[end] as number) - (this.#starts[first] as number)) * ID_WORDS
  }

  /**
   * Reads the ids whose first word is at least `low`, and below `high`.
   *
   * @param high at most 2^32
   * @param target memory of `wordsOf(low, high)` words
   * @returns the ids, as a part of `target`
   * @throws RunUnreadable
   */
  async read(low: number, high: number, target: Uint32Array): Promise<Uint32Array> {
    try {
      await this.#readBuckets(this.#bucketsOf(low, high), target)
    } catch (cause) {
      throw new RunUnreadable(this, cause)
    }
    return between(target, low, high)
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  /** Closes and deletes the file. */
  async delete(): Promise<void> {
    await this.close()
    await rm(this.path, { force: true })
  }

  #bucketsOf(low: number, high: number): { first: number; end: number } {
    const end = high === 2 ** 32 ? this.#checksums.length : ((high - 1) >>> this.#shift) + 1
    return { first: low >>> this.#shift, end }
  }

  async #readBuckets({ first, end }: { first: number; end: number }, target: Uint32Array): Promise<void> {
    const from = this.#starts[first] as number
    const bytes = bytesOf(target)
    await readFully(this.#file, bytes, from * ID_BYTES)
    for (let bucket = first; bucket < end; bucket++) {
      const start = ((this.#starts[bucket] as number) - from) * ID_BYTES
      const stop = ((this.#starts[bucket + 1] as number) - from) * ID_BYTES
      if (stop > start && crc32(bytes.subarray(start, stop)) !== this.#checksums[bucket])
        throw new Error(DAMAGED)
    }
  }

  /** Reads the ids of a bucket into `bucketBytes`. */
  #readBucket(bucket: number, position: number, length: number): void {
    try {
      const read = readSync(this.#descriptor, bucketBytes, 0, length, position)
      const checksum = crc32(bucketBytes.subarray(0, length))
      if (read !== length || checksum !== this.#checksums[bucket]) throw new Error(DAMAGED)
    } catch (cause) {
      throw new RunUnreadable(this, cause)
    }
  }
}

interface RunIndex {
  readonly bits: number
  readonly starts: Uint32Array
  readonly checksums: Uint32Array
}

/** Writes the file of a run, from the first id to the last. */
export class RunWriter {
  readonly #number: number
  readonly #path: string
  readonly #file: FileHandle
  readonly #bits: number
  readonly #starts: Uint32Array
  readonly #checksums: Uint32Array
  #bucket = 0
  #size = 0

  constructor(number: number, path: string, file: FileHandle, idsMax: number) {
    this.#number = number
    this.#path = path
    this.#file = file
    const bits = Math.ceil(Math.log2(Math.max(1, idsMax) / BUCKET_IDS))
    this.#bits = Math.min(BUCKET_BITS_MAX, Math.max(BUCKET_BITS_MIN, bits))
    this.#starts = new Uint32Array(2 ** this.#bits + 1)
    this.#checksums = new Uint32Array(2 ** this.#bits)
  }

  /** @param ids in order, and greater than the ids of earlier calls */
  async append(ids: Uint32Array): Promise<void> {
    const bytes = bytesOf(ids)
    this.#noteBuckets(ids, bytes)
    let written = 0
    while (written < bytes.length) {
      const length = Math.min(bytes.length - written, WRITE_IDS * ID_BYTES)
      const position = this.#size * ID_BYTES + written
      written += (await this.#file.write(bytes, written, length, position)).bytesWritten
    }
    this.#size += ids.length / ID_WORDS
  }

  /** Resolves when the file is synced. The caller has to sync its entry in the directory. */
  async finish(): Promise<IdRun> {
    this.#starts.fill(this.#size, this.#bucket + 1)
    const index = { bits: this.#bits, starts: this.#starts, checksums: this.#checksums }
    const tail = Uint32Array.of(MAGIC, this.#bits, this.#size, 0)
    tail[TAIL_WORDS - 1] = checksumOf(index, tail)
    let position = this.#size * ID_BYTES
    for (const part of [this.#starts, this.#checksums, tail])
      position = await writeFully(this.#file, bytesOf(part), position)
    await this.#file.datasync()
    return new IdRun(this.#number, this.#path, this.#file, index)
  }

  /** Closes and deletes the file. */
  async abandon(): Promise<void> {
    await this.#file.close()
    await rm(this.#path, { force: true })
  }

  #noteBuckets(ids: Uint32Array, bytes: Uint8Array): void {
    const shift = 32 - this.#bits
    let from = 0
    for (let at = 0; at < ids.length; at += ID_WORDS) {
      const bucket = (ids[at] as number) >>> shift
      if (bucket === this.#bucket) continue
      this.#addChecksum(bytes, from, at * 4)
      from = at * 4
      this.#starts.fill(this.#size + at / ID_WORDS, this.#bucket + 1, bucket + 1)
      this.#bucket = bucket
    }
    this.#addChecksum(bytes, from, bytes.length)
  }

  #addChecksum(bytes: Uint8Array, from: number, to: number): void {
    if (to === from) return
    this.#checksums[this.#bucket] = crc32(bytes.subarray(from, to), this.#checksums[this.#bucket])
  }
}

/**
 * Writes a run. If that fails, or `fill` resolves to false, the file is deleted.
 *
 * @param idsMax how many ids the run will have, or a few more
 * @param fill resolves to whether it has written all ids
 * @returns undefined if `fill` resolved to false
 * @throws Error of the disk, or of `fill`
 */
export async function createRun(
  number: number,
  path: string,
  idsMax: number,
  fill: (writer: RunWriter) => Promise<boolean>,
): Promise<IdRun | undefined> {
  const writer = new RunWriter(number, path, await open(path, 'w+'), idsMax)
  try {
    if (await fill(writer)) return await writer.finish()
  } catch (error) {
    await writer.abandon()
    throw error
  }
  await writer.abandon()
  return undefined
}

/** The name of a run's file. */
export function runName(number: number): string {
  return `run-${number}`
}

/** Reads all of a run but its ids. @throws Error if the file is missing or damaged */
export async function openRun(number: number, path: string): Promise<IdRun> {
  const file = await open(path, 'r')
  try {
    const { size: length } = await file.stat()
    const tail = new Uint32Array(TAIL_WORDS)
    await readFully(file, bytesOf(tail), length - tail.byteLength)
    const [magic, bits = 0, size = 0, checksum] = tail
    const buckets = 2 ** bits
    const expected = size * ID_BYTES + (2 * buckets + 1) * 4 + tail.byteLength
    if (magic !== MAGIC || bits > BUCKET_BITS_MAX || length !== expected)
      throw new Error(`${path} is damaged`)
    const starts = new Uint32Array(buckets + 1)
    const checksums = new Uint32Array(buckets)
    await readFully(file, bytesOf(starts), size * ID_BYTES)
    await readFully(file, bytesOf(checksums), size * ID_BYTES + starts.byteLength)
    const index = { bits, starts, checksums }
    if (checksum !== checksumOf(index, tail) || starts.at(-1) !== size) throw new Error(`${path} is damaged`)
    return new IdRun(number, path, file, index)
  } catch (error) {
    await file.close()
    throw error
  }
}

function checksumOf({ starts, checksums }: RunIndex, tail: Uint32Array): number {
  return crc32(bytesOf(tail.subarray(0, TAIL_WORDS - 1)), crc32(bytesOf(checksums), crc32(bytesOf(starts))))
}

/** Sorted ids without the ids below `low`, or from `high` on. */
function between(words: Uint32Array, low: number, high: number): Uint32Array {
  let from = 0
  let to = words.length
  while (from < to && (words[from] as number) < low) from += ID_WORDS
  while (to > from && (words[to - ID_WORDS] as number) >= high) to -= ID_WORDS
  return words.subarray(from, to)
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
}
