/**
 * When a writer may try for the next number. The winner of a number knows the next one a round trip before the
 * others do, and would win that too. So a writer that has committed waits until each of the others that are at
 * work has committed as well, or has had the time for it. One that is alone never waits. Pure: times are given.
 */

/** Who has committed within this time is at work. */
const AT_WORK_MS = 5_000
/** A loser learns of the record, reads it, and creates the next one: so many round trips. */
const ROUND_TRIPS = 3
const WAIT_MS_MAX = 1_000

interface OtherWriter {
  seenAt: number
  roundTripMs: number
  /** It has committed since our last commit. */
  hadTurn: boolean
}

export class Turns {
  readonly #others = new Map<string, OtherWriter>()
  #committedAt = Number.NEGATIVE_INFINITY

  /** @param now milliseconds of any clock that does not step */
  committed(now: number): void {
    this.#committedAt = now
    for (const [writer, other] of this.#others) {
      other.hadTurn = false
      if (now - other.seenAt > AT_WORK_MS) this.#others.delete(writer)
    }
  }

  otherSeen(writer: string, roundTripMs: number, now: number): void {
    this.#others.set(writer, { seenAt: now, roundTripMs, hadTurn: true })
  }

  /** It has lost for long, and has its turn before our next commit. */
  otherWaits(writer: string, roundTripMs: number, now: number): void {
    this.#others.set(writer, { seenAt: now, roundTripMs, hadTurn: false })
  }

  /** How long to wait before the next create, in milliseconds; 0 where it is our turn. */
  waitMs(now: number): number {
    let until = Number.NEGATIVE_INFINITY
    for (const { seenAt, roundTripMs, hadTurn } of this.#others.values()) {
      if (hadTurn || now - seenAt > AT_WORK_MS) continue
      until = Math.max(until, this.#committedAt + Math.min(WAIT_MS_MAX, ROUND_TRIPS * roundTripMs))
    }
    return Math.max(0, until - now)
  }
}
