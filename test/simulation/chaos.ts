/**
 * Decides which parts of a schedule happen. Each part has a name: a message, a process, a planned fault, a fault that was
 * drawn during the run. Parts can be left out by their names, so a failing schedule can be made smaller.
 */
export class Chaos {
  readonly #leftOut: ReadonlySet<string>
  /** A description of each part that happened, by name, in order. */
  readonly happened = new Map<string, string>()
  /** Whether faults are over. */
  isOver = false

  constructor(leftOut: ReadonlySet<string> = new Set()) {
    this.#leftOut = leftOut
  }

  /** Whether a fault happens: not if faults are over, or if it is left out. */
  happens(name: string, what: string): boolean {
    return !this.isOver && this.has(name, what)
  }

  /** Whether a part of the schedule happens: not if it is left out. */
  has(name: string, what: string): boolean {
    if (this.#leftOut.has(name)) return false
    this.happened.set(name, what)
    return true
  }
}
