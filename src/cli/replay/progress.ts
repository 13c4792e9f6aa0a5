import { grouped } from '../verify/report.ts'

export interface Progress {
  /** Events that were sent, by this run and those before. */
  readonly sent: number
  /** From 0 to 1. */
  readonly share: number
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
