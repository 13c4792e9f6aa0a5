/**
 * The last events, newest first. The list does not move while the user may choose an event: while it is paused, while
 * the mouse is over it, and while it has the focus. New events wait during this time; of these only the newest 100 are
 * kept.
 */
import { clock, count, eventName, printable } from './wording.js'

const ROWS_MAX = 100
/** New rows are highlighted if at most NEW_MAX arrive together, at least NEW_EVERY_MS_MIN after the last ones. */
const NEW_MAX = 3
const NEW_EVERY_MS_MIN = 700
const SUMMARY_CHARS_MAX = 240
/** Members that the row shows already, or that are too long for it. */
const NOT_IN_SUMMARY = new Set(['event', 'messageId', 'receivedAt'])

/** @typedef {{ ack: string, json: string }} ShownEvent */

export class EventList {
  #element
  #changed
  /** @type {WeakMap<Element, ShownEvent>} */
  #shown = new WeakMap()
  /** @type {ShownEvent[]} */
  #waiting = []
  #waitingCount = 0
  #isPaused = false
  #isPointedAt = false
  #insertedMs = 0

  /**
   * @param {HTMLElement} element an ordered list
   * @param {{ chosen(event: ShownEvent): void, changed(): void }} on
   */
  constructor(element, on) {
    this.#element = element
    this.#changed = on.changed
    element.addEventListener('click', ({ target }) => {
      const button = target instanceof Element ? target.closest('button') : null
      const event = button === null ? undefined : this.#shown.get(button)
      if (event !== undefined) on.chosen(event)
    })
    element.addEventListener('keydown', event => this.#moveFocus(event))
    element.addEventListener('pointerenter', ({ pointerType }) => this.#setPointedAt(pointerType === 'mouse'))
    element.addEventListener('pointerleave', () => this.#setPointedAt(false))
    element.addEventListener('focusout', () => queueMicrotask(() => this.#release()))
  }

  /** Events that arrived while the list did not move. */
  get waiting() {
    return this.#waitingCount
  }

  get isPaused() {
    return this.#isPaused
  }

  set isPaused(isPaused) {
    this.#isPaused = isPaused
    this.#release()
  }

  clear() {
    this.#waiting = []
    this.#waitingCount = 0
    this.#element.replaceChildren()
    this.#changed()
  }

  /** @param {ShownEvent[]} events oldest first */
  add(events) {
    if (this.#isStill()) {
      this.#waiting = [...this.#waiting, ...events].slice(-ROWS_MAX)
      this.#waitingCount += events.length
    } else this.#insert(events)
    this.#changed()
  }

  #isStill() {
    return this.#isPaused || this.#isPointedAt || this.#element.contains(document.activeElement)
  }

  /** @param {boolean} isPointedAt */
  #setPointedAt(isPointedAt) {
    this.#isPointedAt = isPointedAt
    this.#release()
  }

  #release() {
    if (this.#isStill()) return
    const events = this.#waiting
    this.#waiting = []
    this.#waitingCount = 0
    this.#insert(events)
    this.#changed()
  }

  /** @param {ShownEvent[]} events */
  #insert(events) {
    if (events.length === 0) return
    const now = performance.now()
    const isNew = events.length <= NEW_MAX && now - this.#insertedMs >= NEW_EVERY_MS_MIN
    this.#insertedMs = now
    this.#element.prepend(
      ...events
        .slice(-ROWS_MAX)
        .map(event => this.#row(event, isNew))
        .reverse(),
    )
    while (this.#element.children.length > ROWS_MAX) this.#element.lastElementChild?.remove()
    const buttons = this.#element.querySelectorAll('button')
    // The Tab key reaches the first row only; the arrow keys move between rows.
    buttons.forEach((button, at) => {
      button.tabIndex = at === 0 ? 0 : -1
    })
  }

  /** @param {ShownEvent} event @param {boolean} isNew */
  #row(event, isNew) {
    const fields = JSON.parse(event.json)
    const button = document.createElement('button')
    button.type = 'button'
    button.append(
      cell('when', clock(Date.parse(fields.receivedAt))),
      cell('name', eventName(fields)),
      cell('what', summaryOf(fields)),
    )
    this.#shown.set(button, event)
    const row = document.createElement('li')
    if (isNew) row.className = 'new'
    row.append(button)
    return row
  }

  /** @param {KeyboardEvent} event */
  #moveFocus(event) {
    const buttons = [...this.#element.querySelectorAll('button')]
    const at = buttons.findIndex(button => button.matches(':focus'))
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key]
    if (event.key === 'Escape') buttons[at]?.blur()
    if (to === undefined || at === -1) return
    event.preventDefault()
    const next = buttons[Math.min(buttons.length - 1, Math.max(0, to))]
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1
    next?.focus()
  }
}

/** The note above the list. @param {{ waiting: number, omitted: number, isPaused: boolean }} state */
export function noteOf({ waiting, omitted, isPaused }) {
  if (isPaused) return waiting === 0 ? 'paused' : `paused, ${more(waiting)}`
  if (waiting > 0) return more(waiting)
  return omitted > 0 ? `a sample: ${count(omitted)} per second are left out` : ''
}

/** @param {number} waiting */
function more(waiting) {
  return `${count(waiting)} more ${waiting === 1 ? 'has' : 'have'} arrived`
}

/** @param {string} className @param {string} text */
function cell(className, text) {
  const element = document.createElement('span')
  element.className = className
  element.textContent = printable(text)
  return element
}

/** `type: track · user_id: 42 · plan: pro`. @param {Record<string, unknown>} fields */
function summaryOf(fields) {
  const { properties, context, ...rest } = fields
  const own = typeof properties === 'object' ? Object.entries(properties ?? {}) : []
  return [...Object.entries(rest).filter(([name]) => !NOT_IN_SUMMARY.has(name)), ...own]
    .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' · ')
    .slice(0, SUMMARY_CHARS_MAX)
}
