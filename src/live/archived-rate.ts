/** Timers are late or early by some milliseconds: batches of ten seconds are to be one span apart. */
const SHARE_OF_SPAN = 0.95
const SPAN_MS_MIN = 10_000
/** After so many spans without a batch the rate is 0. A batch that comes later is not compared with the one before. */
const SPANS_MAX = 2

interface Mark {
  /** `performance.now()` */
  readonly ms: number
  readonly archived: number
}

/**
 * How many events a second are archived. Whole batches are archived at once, so it is a mean from one batch to a later
 * one, and not over a fixed time: that would have one batch more or less from second to second.
 */
export class ArchivedRate {
  readonly #spanMs: number
  /** Where the count had changed, oldest first. The first one is the start, or the batch that is compared with. */
  #marks: readonly [Mark, ...Mark[]]

  /** @param batchAgeMs the events of a batch came within this time before it was archived */
  constructor(start: Mark, batchAgeMs: number) {
    this.#marks = [start]
    this.#spanMs = SHARE_OF_SPAN * Math.max(SPAN_MS_MIN, batchAgeMs)
  }

  /** @returns events a second */
  next(now: Mark): number {
    const last = this.#marks.at(-1) as Mark
    if (now.archived !== last.archived) this.#marks = this.#with(last, now)
    const [base] = this.#marks
    const newest = this.#marks.at(-1) as Mark
    const spanMs = newest.ms - base.ms
    const quietMs = now.ms - newest.ms
    if (spanMs === 0 || quietMs > SPANS_MAX * spanMs) return 0
    return (1_000 * (newest.archived - base.archived)) / Math.max(spanMs, quietMs)
  }

  #with(last: Mark, newest: Mark): readonly [Mark, ...Mark[]] {
    const startMs = newest.ms - this.#spanMs
    if (newest.ms - last.ms > SPANS_MAX * this.#spanMs)
      return [{ ms: startMs, archived: last.archived }, newest]
    const marks: [Mark, ...Mark[]] = [...this.#marks, newest]
    while (marks[1] !== undefined && marks[1].ms <= startMs) marks.shift()
    return marks
  }
}
