/**
 * A list of ids, and of where each was seen, in bounded memory. It is read again in shares, so that equal ids come in
 * the same share.
 *
 * An id record is the digest of an id (16 bytes) and the number of its place (6 bytes). A hash of the digest says which
 * of 256 partitions gets it. The records of a partition are collected in a block of 88 KiB, and full blocks are written
 * to the scratch file. So a list takes 22 MiB of memory, and 22 bytes of disk for each id once it has about a million.
 *
 * A share is a partition, or a part of one, with about `SHARE_IDS_MAX` records. A larger partition is read once for
 * each of its parts, and the records of the other parts are skipped.
 */

import { ID_BYTES } from '../../event/message-id.ts'
import type { ScratchFile } from './scratch-file.ts'

const PARTITIONS = 256
const PLACE_BYTES = 6
const RECORD_BYTES = ID_BYTES + PLACE_BYTES
const BLOCK_BYTES = 4096 * RECORD_BYTES
/** A set of this many ids takes about 100 to 200 MB. */
const SHARE_IDS_MAX = 4_000_000

const LAST_WORD = ID_BYTES - 4

interface Partition {
  /** The positions of its full blocks in the scratch file. */
  readonly written: number[]
  block: Buffer | undefined
  blockLength: number
  size: number
}

/** A part of all ids. Equal ids are in the same share, in every list. */
export interface Share {
  readonly partition: number
  readonly part: number
  readonly parts: number
}

export class IdRecords {
  readonly #scratch: ScratchFile
  readonly #partitions: Partition[]

  constructor(scratch: ScratchFile) {
    this.#scratch = scratch
    this.#partitions = Array.from({ length: PARTITIONS }, () => ({
      written: [],
      block: undefined,
      blockLength: 0,
      size: 0,
    }))
  }

  get size(): number {
    return this.#partitions.reduce((sum, { size }) => sum + size, 0)
  }

  /** @param place a whole number below 2^48 */
  add(digest: Buffer, place: number): void {
    const lastWord = mixedLastWord(digest)
    const partition = this.#partitions[lastWord >>> 24] as Partition
    partition.block ??= Buffer.allocUnsafe(BLOCK_BYTES)
    const { block, blockLength: at } = partition
    digest.copy(block, at, 0, LAST_WORD)
    block.writeUInt32LE(lastWord, at + LAST_WORD)
    block.writeUIntLE(place, at + ID_BYTES, PLACE_BYTES)
    partition.blockLength += RECORD_BYTES
    partition.size++
    if (partition.blockLength === BLOCK_BYTES) {
      partition.written.push(this.#scratch.append(block))
      partition.blockLength = 0
    }
  }

  /** The shares of this list. They are also small enough for a list that is not larger. */
  *shares(): Iterable<Share> {
    for (const [partition, { size }] of this.#partitions.entries()) {
      const parts = Math.max(1, Math.ceil(size / SHARE_IDS_MAX))
      for (let part = 0; part < parts; part++) yield { partition, part, parts }
    }
  }

  /**
   * Calls `each` with every record of a share.
   *
   * @param each gets the mixed digest: two of them are equal exactly if the digests are. It must not keep the buffer.
   */
  read({ partition: number, part, parts }: Share, each: (mixedDigest: Buffer, place: number) => void): void {
    const { written, block, blockLength } = this.#partitions[number] as Partition
    const readBlock = (bytes: Buffer, length: number): void => {
      for (let at = 0; at < length; at += RECORD_BYTES) {
        if (parts > 1 && partOf(bytes.readUInt32LE(at + LAST_WORD), parts) !== part) continue
        each(bytes.subarray(at, at + ID_BYTES), bytes.readUIntLE(at + ID_BYTES, PLACE_BYTES))
      }
    }
    for (const position of written) readBlock(this.#scratch.read(position, BLOCK_BYTES), BLOCK_BYTES)
    if (block !== undefined) readBlock(block, blockLength)
  }
}

/** The mixed form of a digest, which `read` gives in place of it. */
export function mixedDigest(digest: Buffer): Buffer {
  const copy = Buffer.from(digest)
  copy.writeUInt32LE(mixedLastWord(digest), LAST_WORD)
  return copy
}

/**
 * Returns MurmurHash3 of a digest, which replaces its last word. Each step can be undone if the other words are known,
 * so different digests stay different. Ids that clients count up, or that end in the same bytes, are spread over all
 * partitions.
 */
function mixedLastWord(digest: Buffer): number {
  let hash = 0
  for (let at = 0; at < ID_BYTES; at += 4) {
    const word = Math.imul(digest.readInt32LE(at), 0xcc9e2d51)
    hash ^= Math.imul((word << 15) | (word >>> 17), 0x1b873593)
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** Which part of its partition a record is in. Independent of the high bits, which name the partition. */
function partOf(lastWord: number, parts: number): number {
  return (Math.imul(lastWord ^ (lastWord >>> 15), 0x2c1b3c6d) >>> 16) % parts
}
