import type { Part } from '../queue/queue.ts'

export interface ReadinessParts {
  /** Undefined where the process takes no events. Events are taken while one of these is well. */
  intake: (() => readonly Part[]) | undefined
  /** Undefined where the process archives nothing. Events are archived while all of these are well. */
  archiving: (() => readonly Part[]) | undefined
}

export interface PartReport {
  readonly part: string
  readonly well: boolean
  /** ISO 8601: when it became so, to the second in which it was noticed. */
  readonly since: string
  readonly trouble?: string
}

export interface ReadinessReport {
  readonly ready: boolean
  /** Absent where the process is not there for it. */
  readonly takesEvents?: boolean
  readonly archives?: boolean
  readonly parts: readonly PartReport[]
}

/**
 * Whether a process can do what it is there for, and what keeps it from that since when. One that takes
 * events is ready while it can take them durably, whatever becomes of its archive meanwhile: the events
 * wait. One that only archives is ready while it can archive.
 */
export class Readiness {
  readonly #parts: ReadinessParts
  readonly #since = new Map<string, { well: boolean; at: Date }>()
  #isEnding = false

  constructor(parts: ReadinessParts) {
    this.#parts = parts
  }

  /** From now on it is not ready. */
  end(): void {
    this.#isEnding = true
  }

  /** Notes what has changed. To be called every second or so, for `since` to be right. */
  look(): ReadinessReport {
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
