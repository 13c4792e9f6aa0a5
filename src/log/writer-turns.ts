/**
 * When a writer may try for the next number. The winner of a number knows the next one a round trip before the
 * others do, and would win that too; and of several that try at once all but one have sent their record for
 * nothing. So those at work take turns, who has committed least of late first: all read the same log, so all know
 * whose turn it is. Who does not take it in time loses it to the next. One that is alone never waits. Pure: times
 * are given.
 */

/** Who has committed within this time is at work. */
const ACTIVE_MS = 5_000
/** To read the record before it, to see that it was the last, and to send its own, a writer has so many round trips. */
const ROUND_TRIPS = 3
const TURN_MS_MAX = 1_000

interface OtherWriter {
  seenAt: number
  roundTripMs: number
  /** When it has committed last, in the order of the log; before all others where it says that it waits. */
  place: number
}

export class WriterTurns {
  readonly #others = new Map<string, OtherWriter>()
  #ownPlace = 0
  #lastPlace = 0
  /** When the last record was seen here. */
  #lastAt = Number.NEGATIVE_INFINITY

  /** @param now milliseconds of any clock that does not step */
  committed(now: number): void {
    this.#ownPlace = ++this.#lastPlace
    this.#lastAt = now
    for (const [writer, { seenAt }] of this.#others) if (now - seenAt > ACTIVE_MS) this.#others.delete(writer)
  }

  otherCommitted(writer: string, roundTripMs: number, now: number): void {
    this.#others.set(writer, { seenAt: now, roundTripMs, place: ++this.#lastPlace })
    this.#lastAt = now
  }

  /** It has lost for long, and has its turn before our next commit. */
  otherWaits(writer: string, roundTripMs: number, now: number): void {
    this.#others.set(writer, { seenAt: now, roundTripMs, place: 0 })
  }

  hasActiveOthers(now: number): boolean {
    for (const { seenAt } of this.#others.values()) if (now - seenAt <= ACTIVE_MS) return true
    return false
  }

  /** How long to wait before the next create, in milliseconds; 0 where it is our turn. */
  waitMs(now: number): number {
    let until = this.#lastAt
    for (const { seenAt, roundTripMs, place } of this.#others.values())
      if (place < this.#ownPlace && now - seenAt <= ACTIVE_MS)
        until += Math.min(TURN_MS_MAX, ROUND_TRIPS * roundTripMs)
    return Math.max(0, until - now)
  }
}
