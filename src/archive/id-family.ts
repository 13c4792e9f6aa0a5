/**
 * A family of ids: those that share all but their last 12 bits, the counter (message-id.ts). Which counters
 * of a family are there is written as ranges, in order, each as its first and its last counter: 4 bytes. An
 * id that is alone in its family takes one range; those that were made one after the other, too.
 */

/** The first 14 bytes of an id, and the upper half of the next one. */
export const FAMILY_BYTES = 15
const WHOLE_BYTES = 14
const RANGE_BYTES = 4

/** The family of the id that begins at `at`, as a key. */
export function familyAt(ids: Buffer, at: number): Buffer {
  const family = Buffer.from(ids.subarray(at, at + FAMILY_BYTES))
  family[WHOLE_BYTES] = (family[WHOLE_BYTES] as number) & 0xf0
  return family
}

export function counterAt(ids: Buffer, at: number): number {
  return ids.readUInt16BE(at + WHOLE_BYTES) & 0x0fff
}

/** Whether the id that begins at `at` is of this family. */
export function isFamilyAt(family: Buffer, ids: Buffer, at: number): boolean {
  return (
    // What differs mostly stands there, so it is compared first.
    family.readUInt32LE(10) === ids.readUInt32LE(at + 10) &&
    family.readUInt32LE(0) === ids.readUInt32LE(at) &&
    family.readUInt32LE(4) === ids.readUInt32LE(at + 4) &&
    family.readUInt16LE(8) === ids.readUInt16LE(at + 8) &&
    family[WHOLE_BYTES] === ((ids[at + WHOLE_BYTES] as number) & 0xf0)
  )
}

export function holds(ranges: Buffer, counter: number): boolean {
  for (let at = 0; at < ranges.length; at += RANGE_BYTES) {
    if (counter < ranges.readUInt16BE(at)) return false
    if (counter <= ranges.readUInt16BE(at + 2)) return true
  }
  return false
}

/** The ranges with these counters too. */
export function withCounters(ranges: Buffer | undefined, counters: readonly number[]): Buffer {
  const all = [...countersOf(ranges), ...counters].sort((a, b) => a - b)
  const bounds: number[] = []
  for (const counter of all) {
    if (counter > (bounds.at(-1) ?? -2) + 1) bounds.push(counter, counter)
    else bounds[bounds.length - 1] = counter
  }
  const merged = Buffer.allocUnsafe(bounds.length * 2)
  for (const [n, bound] of bounds.entries()) merged.writeUInt16BE(bound, n * 2)
  return merged
}

function* countersOf(ranges: Buffer | undefined): Iterable<number> {
  for (let at = 0; at < (ranges?.length ?? 0); at += RANGE_BYTES) {
    const last = ranges?.readUInt16BE(at + 2) ?? 0
    for (let counter = ranges?.readUInt16BE(at) ?? 0; counter <= last; counter++) yield counter
  }
}
