import { grouped } from '../verify/report.ts'

const SHOWN_MS = 200
const CLEAR_LINE = '\r\u001b[K'

export interface Progress {
  /** Events that were sent, by this run and those before. */
  readonly sent: number
  /** From 0 to 1. */
  readonly share: number
}

/** Shows how far a replay is on the last line of a terminal. */
export class ProgressLine {
  readonly #timer: NodeJS.Timeout | undefined
  readonly #startMs = performance.now()
  #start: Progress | undefined

  constructor(isShown: boolean, now: () => Progress) {
    if (isShown)
      this.#timer = setInterval(() => process.stderr.write(CLEAR_LINE + this.#text(now())), SHOWN_MS)
  }

  end(): void {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    process.stderr.write(CLEAR_LINE)
  }

  #text(now: Progress): string {
    this.#start ??= now
    const seconds = (performance.now() - this.#startMs) / 1_000
    return progressText(this.#start, now, seconds)
  }
}

/** `42%  12,345 events  3,200/s  about 2 min left`. @param seconds since `start` */
export function progressText(start: Progress, now: Progress, seconds: number): string {
  const rate = Math.round((now.sent - start.sent) / Math.max(seconds, 0.001))
  const done = now.share - start.share
  const left = done <= 0 || seconds < 1 ? '' : `  about ${inWords((seconds * (1 - now.share)) / done)} left`
  return `${Math.floor(100 * now.share)}%  ${grouped(now.sent)} events  ${grouped(rate)}/s${left}`
}

function inWords(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`
  return `${Math.round(seconds / 3_600)} h`
}
