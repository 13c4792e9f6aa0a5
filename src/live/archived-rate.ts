/** Batches at least this far apart are compared. By default a batch closes after ten seconds. */
const SPAN_MS_MIN = 9_500
/** After so many spans without a batch the rate is 0. */
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
  /** Where the count had changed, oldest first. The first one is the start, or the batch that is compared with. */
  #marks: readonly [Mark, ...Mark[]]

  constructor(start: Mark) {
    this.#marks = [start]
  }

  /** @returns events a second */
  next(now: Mark): number {
    const isNew = now.archived !== (this.#marks.at(-1) as Mark).archived
    const marks: [Mark, ...Mark[]] = isNew ? [...this.#marks, now] : [...this.#marks]
    const newest = marks.at(-1) as Mark
    while (marks[1] !== undefined && marks[1].ms <= newest.ms - SPAN_MS_MIN) marks.shift()
    this.#marks = marks
    const [base] = marks
    const spanMs = newest.ms - base.ms
    const quietMs = now.ms - newest.ms
    if (spanMs === 0 || quietMs > SPANS_MAX * spanMs) return 0
    return (1_000 * (newest.archived - base.archived)) / Math.max(spanMs, quietMs)
  }
}
