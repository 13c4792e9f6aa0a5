/** The lists of the last archived objects and of the last refusals. */
import { ago, bytes, clock, count, printable, some } from './wording.js'

const REASONS = /** @type {Record<string, string>} */ ({
  events: 'closed by its number of events',
  bytes: 'closed by its bytes',
  age: 'closed by its age',
  time: 'closed, because the next event is of another time',
  shutdown: 'closed by a shutdown',
})

/** @param {string} className @param {...string} texts */
function lineOf(className, ...texts) {
  const line = document.createElement('p')
  line.className = className
  for (const text of texts) {
    const span = document.createElement('span')
    span.textContent = text
    line.append(span)
  }
  return line
}

/**
 * Adds rows for new items and removes rows of items that are no longer in the list. Other rows stay, so that the focus
 * does not move.
 *
 * @template T
 * @param {HTMLElement} list
 * @param {readonly T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T, row: HTMLElement) => void} fill
 */
function update(list, items, keyOf, fill) {
  const rows = new Map([...list.children].map(row => [row.getAttribute('data-key'), row]))
  items.forEach((item, at) => {
    const key = keyOf(item)
    let row = /** @type {HTMLElement | undefined} */ (rows.get(key))
    rows.delete(key)
    if (row === undefined) {
      row = document.createElement('li')
      row.setAttribute('data-key', key)
      fill(item, row)
    }
    if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null)
  })
  for (const row of rows.values()) row.remove()
}

/**
 * @typedef {{ key: string, events: number, bytes: number, storedBytes: number, reason: string, at: number }} ArchivedObject
 */

/**
 * @param {HTMLElement} list
 * @param {readonly ArchivedObject[]} objects newest first
 * @param {(object: ArchivedObject) => void} chosen
 */
export function showObjects(list, objects, chosen) {
  update(
    list,
    objects,
    ({ key }) => key,
    (object, row) => {
      const { key, events, bytes: size, storedBytes, reason, at } = object
      const link = document.createElement('a')
      link.href = `ui/object?key=${encodeURIComponent(key)}`
      link.textContent = key.slice(key.lastIndexOf('/') + 1)
      link.title = `Show events of ${key}`
      link.addEventListener('click', event => {
        event.preventDefault()
        chosen(object)
      })
      const stored = storedBytes === size ? bytes(size) : `${bytes(storedBytes)}, ${bytes(size)} unpacked`
      row.append(
        lineOf('line', `${some(events, 'event')} · ${stored}`, clock(at)),
        link,
        lineOf('aside', REASONS[reason] ?? reason),
      )
    },
  )
}

/**
 * Shows refusals. Refusals with the same code and message are one row with their number.
 *
 * @param {HTMLElement} list
 * @param {readonly { at: number, code: string, message: string }[]} refusals newest first
 * @param {number} now
 */
export function showRefusals(list, refusals, now) {
  /** @type {Map<string, { message: string, code: string, times: number, at: number }>} */
  const groups = new Map()
  for (const { at, code, message } of refusals) {
    const group = groups.get(code + message)
    if (group === undefined) groups.set(code + message, { message, code, times: 1, at })
    else group.times++
  }
  update(
    list,
    [...groups.values()],
    ({ code, message }) => code + message,
    ({ message }, row) => {
      const text = document.createElement('p')
      text.textContent = printable(message)
      row.append(text, lineOf('line aside', '', ''))
    },
  )
  for (const { code, message, times, at } of groups.values()) {
    const row = [...list.children].find(each => each.getAttribute('data-key') === code + message)
    const [left, right] = row?.querySelectorAll('.line span') ?? []
    if (left) left.textContent = times === 1 ? code : `${code} · ${count(times)} times`
    if (right) right.textContent = ago(now - at)
  }
}
