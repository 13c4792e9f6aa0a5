import type { Part } from '../queue/queue.ts'

export interface ReadinessParts {
  /** Events can be taken while at least one of these parts works. Undefined if the process takes no events. */
  intake: (() => readonly Part[]) | undefined
  /** Events can be archived while all of these parts work. Undefined if the process does not archive. */
  archiving: (() => readonly Part[]) | undefined
}

export interface PartReport {
  readonly part: string
  readonly well: boolean
  /** ISO 8601: when a change of `well` was last noticed, about a second after the change. */
  readonly since: string
  readonly trouble?: string
}

export interface ReadinessReport {
  readonly ready: boolean
  /** Absent if the role takes no events. */
  readonly takesEvents?: boolean
  /** Absent if the role does not archive. */
  readonly archives?: boolean
  readonly parts: readonly PartReport[]
}

/**
 * Whether a process can do its work, and since when each part works or does not.
 *
 * A process that takes events is ready while it can take them durably, even if it cannot archive: the events wait. A
 * process that only archives is ready while it can archive.
 */
export class Readiness {
  readonly #parts: ReadinessParts
  readonly #since = new Map<string, { well: boolean; at: Date }>()
  #isEnding = false

  constructor(parts: ReadinessParts) {
    this.#parts = parts
  }

  /** The process shuts down: it is not ready from now on. */
  end(): void {
    this.#isEnding = true
  }

  /** Reports the current state. To be called about every second: `since` is the time of the call that sees a change. */
  report(): ReadinessReport {
    const intake = this.#parts.intake?.()
    const archiving = this.#parts.archiving?.()
    const takesEvents = intake?.some(isWell)
    const archives = archiving?.every(isWell)
    return {
      ready: !this.#isEnding && (takesEvents ?? archives ?? true),
      ...(takesEvents !== undefined && { takesEvents }),
      ...(archives !== undefined && { archives }),
      parts: [...(intake ?? []), ...(archiving ?? [])].map(part => this.#reportOf(part)),
    }
  }

  #reportOf({ name, trouble }: Part): PartReport {
    const well = trouble === undefined
    let state = this.#since.get(name)
    if (state?.well !== well) {
      state = { well, at: new Date() }
      this.#since.set(name, state)
    }
    return { part: name, well, since: state.at.toISOString(), ...(!well && { trouble }) }
  }
}

function isWell({ trouble }: Part): boolean {
  return trouble === undefined
}
