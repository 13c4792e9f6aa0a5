/**
 * Whether what may happen does. Everything that can be left out of a schedule has a name: a message, a
 * process, a fault that was planned, one that was drawn on the way. So a failing schedule is made smaller by
 * leaving out names.
 */
export class Chaos {
  readonly #leftOut: ReadonlySet<string>
  /** What happened, in order, by name; and what it was. */
  readonly happened = new Map<string, string>()
  /** Nothing goes wrong any more. */
  isOver = false

  constructor(leftOut: ReadonlySet<string> = new Set()) {
    this.#leftOut = leftOut
  }

  /** Whether a fault happens; it does, unless faults are over, or it is left out. */
  happens(name: string, what: string): boolean {
    return !this.isOver && this.has(name, what)
  }

  /** Whether a part of the schedule is there. */
  has(name: string, what: string): boolean {
    if (this.#leftOut.has(name)) return false
    this.happened.set(name, what)
    return true
  }
}
