/** Resolves after so many milliseconds, or as soon as the signal is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal?.aborted) {
      resolve()
      return
    }
    const wake = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', wake)
      resolve()
    }
    const timer = setTimeout(wake, ms)
    signal?.addEventListener('abort', wake)
  })
}

export interface BackOffLimits {
  readonly msMin: number
  readonly msMax: number
}

/** Pauses between tries: they double, and are shortened by up to a half, by chance. */
export class BackOff {
  readonly #limits: BackOffLimits
  #tries = 0

  constructor(limits: BackOffLimits) {
    this.#limits = limits
  }

  reset(): void {
    this.#tries = 0
  }

  /** Ends early where the signal is aborted. */
  async pause(signal?: AbortSignal): Promise<void> {
    const { msMin, msMax } = this.#limits
    const ms = Math.min(msMax, msMin * 2 ** this.#tries++)
    await sleep(ms / 2 + Math.random() * (ms / 2), signal)
  }
}
