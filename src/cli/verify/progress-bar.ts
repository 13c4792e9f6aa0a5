import { grouped } from './report.ts'
import type { VerifyProgress } from './verifier.ts'

const DRAW_MS = 200
const BAR_CHARS = 20
const ERASE_LINE = '\r\u001b[K'

/** A line on a terminal that is drawn again every 200 ms. `stop` erases it. */
export class ProgressBar {
  readonly #stream: NodeJS.WriteStream
  readonly #progress: VerifyProgress
  readonly #startedAt = performance.now()
  readonly #timer: NodeJS.Timeout

  constructor(stream: NodeJS.WriteStream, progress: VerifyProgress) {
    this.#stream = stream
    this.#progress = progress
    this.#timer = setInterval(() => this.#draw(), DRAW_MS)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#stream.write(ERASE_LINE)
  }

  #draw(): void {
    const line = progressLine(this.#progress, performance.now() - this.#startedAt)
    // A terminal that does not know its width reports 0 columns.
    this.#stream.write(ERASE_LINE + line.slice(0, (this.#stream.columns || 80) - 1))
  }
}

/** `[#####               ]  25%  250/1,000 objects  250,000 events  100,000/s` */
export function progressLine(progress: VerifyProgress, elapsedMs: number): string {
  const { phase, objects, objectsKnown, isListed, events, records, compared } = progress
  if (phase === 'log') return `${bar(1)}  reading the log, ${grouped(records)} records`
  if (phase === 'comparing') return `${bar(compared)}  comparing ${grouped(events)} events`
  const share = objectsKnown === 0 ? 0 : objects / objectsKnown
  const known = `${grouped(objectsKnown)}${isListed ? '' : '+'}`
  const rate = grouped(Math.round(events / (Math.max(1, elapsedMs) / 1000)))
  return `${bar(share)}  ${grouped(objects)}/${known} objects  ${grouped(events)} events  ${rate}/s`
}

function bar(share: number): string {
  const done = Math.floor(share * BAR_CHARS)
  const percent = `${Math.floor(share * 100)}%`.padStart(4)
  return `[${'#'.repeat(done).padEnd(BAR_CHARS)}] ${percent}`
}
