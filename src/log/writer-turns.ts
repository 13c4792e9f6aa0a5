/** A writer that has committed within this time is active. */
const ACTIVE_MS = 5_000
/** The round trips of one turn: read the last record, see that there is no later one, and create the next. */
const ROUND_TRIPS = 3
const TURN_MS_MAX = 1_000

interface OtherWriter {
  seenAt: number
  roundTripMs: number
  /** The order of last commits: the lowest is the next to commit. 0 if it has written the waiting hint. */
  place: number
}

/**
 * Says when a writer may try to create the next record. Without turns, the winner of a number would know the next number
 * a round trip before the others and win again, and all losers would have sent their record in vain.
 *
 * Active writers take turns. The one whose last commit is the oldest is first. All writers read the same log, so all
 * know whose turn it is. A writer that does not commit within its turn loses it to the next. A single active writer
 * never waits. Pure: the caller gives the time, in milliseconds of a monotonic clock.
 */
export class WriterTurns {
  readonly #others = new Map<string, OtherWriter>()
  #ownPlace = 0
  #lastPlace = 0
  /** When the last record was applied here. */
  #lastAt = Number.NEGATIVE_INFINITY

  /** This writer has appended a record. */
  committed(now: number): void {
    this.#ownPlace = ++this.#lastPlace
    this.#lastAt = now
    for (const [writer, { seenAt }] of this.#others) if (now - seenAt > ACTIVE_MS) this.#others.delete(writer)
  }

  /** A record of another writer was applied. */
  otherCommitted(writer: string, roundTripMs: number, now: number): void {
    this.#others.set(writer, { seenAt: now, roundTripMs, place: ++this.#lastPlace })
    this.#lastAt = now
  }

  /** Another writer has written the waiting hint. It gets a turn before our next commit. */
  otherWaits(writer: string, roundTripMs: number, now: number): void {
    this.#others.set(writer, { seenAt: now, roundTripMs, place: 0 })
  }

  hasActiveOthers(now: number): boolean {
    for (const { seenAt } of this.#others.values()) if (now - seenAt <= ACTIVE_MS) return true
    return false
  }

  /** How long to wait before the next create, in milliseconds; 0 if it is our turn. */
  waitMs(now: number): number {
    let until = this.#lastAt
    for (const { seenAt, roundTripMs, place } of this.#others.values())
      if (place < this.#ownPlace && now - seenAt <= ACTIVE_MS)
        until += Math.min(TURN_MS_MAX, ROUND_TRIPS * roundTripMs)
    return Math.max(0, until - now)
  }
}
