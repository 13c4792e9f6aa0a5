/** Resolves after `ms` milliseconds, or as soon as the signal is aborted. Never rejects. */
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

/** Pauses between tries. They double from `msMin` to `msMax`; each is shortened at random by up to one half. */
export class BackOff {
  readonly #limits: BackOffLimits
  #tries = 0

  constructor(limits: BackOffLimits) {
    this.#limits = limits
  }

  reset(): void {
    this.#tries = 0
  }

  /** Resolves after the next pause, or as soon as the signal is aborted. */
  async pause(signal?: AbortSignal): Promise<void> {
    const { msMin, msMax } = this.#limits
    const ms = Math.min(msMax, msMin * 2 ** this.#tries++)
    await sleep(ms / 2 + Math.random() * (ms / 2), signal)
  }
}
