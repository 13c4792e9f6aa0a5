/**
 * Remembers ids and where each was seen, in bounded memory however many there are, and brings equal
 * ones together again.
 *
 * A record is the digest of an id (16 bytes) and the number of its place (6 bytes). Records go to 256
 * partitions by a hash of the digest, so that equal ids meet in one of them; a partition's records are
 * collected in a block of 88 KiB, and full blocks are written to the scratch file. So a ledger holds
 * 22 MiB, and 22 bytes of disk an id once there are more than about a million.
 *
 * They are read again share by share: a partition, or a part of one, of about `SHARE_IDS_MAX` records.
 * A partition that is larger is read several times, and each time other records of it are taken.
 */

import { ID_BYTES } from '../../event/message-id.ts'
import type { ScratchFile } from './scratch-file.ts'

const PARTITIONS = 256
const PLACE_BYTES = 6
const RECORD_BYTES = ID_BYTES + PLACE_BYTES
const BLOCK_BYTES = 4096 * RECORD_BYTES
/** A set of them takes some 100 MB. */
const SHARE_IDS_MAX = 4_000_000

const LAST_WORD = ID_BYTES - 4

interface Partition {
  /** Where its full blocks are in the scratch file. */
  readonly written: number[]
  block: Buffer | undefined
  blockLength: number
  size: number
}

/** A part of all ids; equal ids are in the same one, in every ledger. */
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

  /** The shares in which this ledger, and every other of at most its size, can be read. */
  *shares(): Iterable<Share> {
    for (const [partition, { size }] of this.#partitions.entries()) {
      const parts = Math.max(1, Math.ceil(size / SHARE_IDS_MAX))
      for (let part = 0; part < parts; part++) yield { partition, part, parts }
    }
  }

  /**
   * Calls `each` with every record of a share.
   *
   * @param each gets the mixed digest, which is as good as the digest; it is to be copied, if kept.
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

/** The mixed digest as which a ledger knows this one. */
export function mixed(digest: Buffer): Buffer {
  const copy = Buffer.from(digest)
  copy.writeUInt32LE(mixedLastWord(digest), LAST_WORD)
  return copy
}

/**
 * MurmurHash3 of a digest, as another last word for it. Each step of it can be undone, given the words
 * before, so digests that differ still do. Ids that clients count up, or have made to end in the same
 * bytes, fall into different partitions, and different slots of a set, nonetheless.
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

/** Independent of the low bits, by which a set places a digest, and of the high ones, by which there are partitions. */
function partOf(lastWord: number, parts: number): number {
  return (Math.imul(lastWord ^ (lastWord >>> 15), 0x2c1b3c6d) >>> 16) % parts
}
