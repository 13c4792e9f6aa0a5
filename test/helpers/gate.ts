/** A place at which a test stops something for a while. */
import { createDeferred } from '../../src/process/deferred.ts'

export interface Gate {
  /** Resolves when something waits at the gate. */
  readonly reached: Promise<void>
  /** Resolves when the gate is open. */
  reach(): Promise<void>
  open(): void
}

export function createGate(): Gate {
  const reached = createDeferred<void>()
  const opened = createDeferred<void>()
  return {
    reached: reached.promise,
    reach: () => {
      reached.resolve()
      return opened.promise
    },
    open: () => opened.resolve(),
  }
}
