/**
 * Events per second over the last five minutes. The axis is fixed, and the lines move along it.
 */
import { short } from './wording.js'

export const SERIES = /** @type {const} */ (['in', 'confirmed', 'spooled', 'archived'])
const SECONDS = 300
const TICK_SECONDS = 60
/** The vertical axis reaches at least this rate, so that a single event is not a high peak. */
const RATE_MAX_MIN = 5

/** @typedef {Record<(typeof SERIES)[number], number>} Rates */

export class RateChart {
  /** @type {(number | null)[][]} */
  #values = SERIES.map(() => Array(SECONDS).fill(null))
  #seconds = Array.from({ length: SECONDS }, (_, n) => n - SECONDS + 1)
  #hides = { in: false, confirmed: false, spooled: false, archived: false }
  /** @type {uPlot | undefined} */
  #plot
  #element
  #pointed

  /**
   * @param {HTMLElement} element
   * @param {(secondsAgo: number | undefined, rates: Partial<Rates>) => void} pointed called with the second under the
   * pointer; `secondsAgo` is undefined if the pointer is not on the chart
   */
  constructor(element, pointed) {
    this.#element = element
    this.#pointed = pointed
    this.#draw()
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(element)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw())
  }

  /**
   * Replaces all values.
   *
   * @param {Rates[]} history oldest first
   * @param {Record<(typeof SERIES)[number], boolean>} hides
   */
  reset(history, hides) {
    this.#hides = hides
    this.#values = SERIES.map(name => {
      const values = history.slice(-SECONDS).map(rates => this.#valueOf(rates, name))
      return [...Array(SECONDS - values.length).fill(null), ...values]
    })
    this.#show()
  }

  /** @param {Rates} rates */
  add(rates) {
    SERIES.forEach((name, at) => {
      const values = this.#values[at]
      values?.shift()
      values?.push(this.#valueOf(rates, name))
    })
    this.#show()
  }

  /** @param {Rates} rates @param {(typeof SERIES)[number]} name */
  #valueOf(rates, name) {
    return this.#hides[name] ? null : rates[name]
  }

  #data() {
    return /** @type {uPlot.AlignedData} */ ([this.#seconds, ...this.#values])
  }

  #show() {
    this.#plot?.setData(this.#data())
    this.#report()
  }

  #report() {
    const at = this.#plot?.cursor.idx
    if (at === null || at === undefined) {
      this.#pointed(undefined, {})
      return
    }
    const rates = SERIES.map((name, n) => [name, this.#values[n]?.[at] ?? undefined])
    this.#pointed(SECONDS - 1 - at, Object.fromEntries(rates))
  }

  #size() {
    return { width: this.#element.clientWidth, height: this.#element.clientHeight }
  }

  #draw() {
    this.#plot?.destroy()
    const colours = getComputedStyle(this.#element)
    /** @param {string} name */
    const colour = name => colours.getPropertyValue(`--${name}`).trim()
    const font = `12px ${colour('sans')}`
    const axis = { font, stroke: colour('soft'), ticks: { show: false } }
    this.#plot = new uPlot(
      {
        ...this.#size(),
        legend: { show: false },
        padding: [8, 18, 0, 0],
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: {
          x: { time: false, range: () => [-SECONDS + 1, 0] },
          y: { range: (_, _min, max) => [0, Math.max(RATE_MAX_MIN, (max ?? 0) * 1.1)] },
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: 32,
            gap: 8,
            splits: () =>
              Array.from({ length: SECONDS / TICK_SECONDS + 1 }, (_, n) => -n * TICK_SECONDS).reverse(),
            values: (_, splits) => splits.map(s => (s === 0 ? 'now' : `−${-s / 60} min`)),
          },
          {
            ...axis,
            grid: { stroke: colour('line'), width: 1 },
            size: 44,
            space: 36,
            incrs: [1, 2, 5, ...[10, 100, 1e3, 1e4, 1e5, 1e6].flatMap(n => [n, 2 * n, 5 * n])],
            values: (_, splits) => splits.map(short),
          },
        ],
        series: [
          {},
          { ...line(colour('in')), fill: `${colour('in')}1c`, width: 2 },
          line(colour('confirmed')),
          line(colour('spooled')),
          line(colour('archived')),
        ],
        hooks: { setCursor: [() => this.#report()] },
      },
      this.#data(),
      this.#element,
    )
  }
}

/** @param {string} stroke */
function line(stroke) {
  return { stroke, width: 1.5, points: { show: false } }
}
