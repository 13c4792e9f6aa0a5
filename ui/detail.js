/** A dialog that shows a whole event, or the first events of an object. */
import { byId, setText } from './gauges.js'
import { showJson, showJsonLines } from './json-view.js'
import { ask } from './server.js'
import { eventName, printable, some } from './wording.js'

const COPIED_MS = 1_500

/**
 * Copies text, and shows the result on the button. If the browser does not allow copying (a page from another machine
 * without HTTPS), the text is selected instead, so that the user can copy it.
 *
 * @param {HTMLElement} button
 * @param {HTMLElement} source
 * @param {string} text
 */
export async function copy(button, source, text) {
  const word = button.textContent
  try {
    await navigator.clipboard.writeText(text)
    button.textContent = 'Copied'
  } catch {
    getSelection()?.selectAllChildren(source)
    button.textContent = 'Selected'
  }
  setTimeout(() => {
    button.textContent = word
  }, COPIED_MS)
}

export class Detail {
  #dialog = /** @type {HTMLDialogElement} */ (byId('detail'))
  #body = byId('detail-body')
  #text = ''
  #shown = 0

  constructor() {
    byId('detail-close').addEventListener('click', () => this.#dialog.close())
    byId('detail-copy').addEventListener('click', ({ currentTarget }) => {
      void copy(/** @type {HTMLElement} */ (currentTarget), this.#body, this.#text)
    })
    // A click on the backdrop has the dialog as its target, but is outside of its rectangle.
    this.#dialog.addEventListener('click', ({ target, clientX, clientY }) => {
      const { left, right, top, bottom } = this.#dialog.getBoundingClientRect()
      const isInside = clientX >= left && clientX <= right && clientY >= top && clientY <= bottom
      if (target === this.#dialog && !isInside) this.#dialog.close()
    })
  }

  /** @param {{ ack: string, json: string }} event */
  showEvent({ ack, json }) {
    const fields = JSON.parse(json)
    const where = ack === 'broker' ? 'confirmed by the broker' : 'on the disk of this machine'
    this.#open(printable(eventName(fields)), `received ${fields.receivedAt}, ${where}`)
    this.#text = json
    showJson(this.#body, json)
  }

  /** @param {{ key: string, events: number }} object */
  async showObject({ key, events }) {
    const shown = this.#open(key.slice(key.lastIndexOf('/') + 1), 'Reading …')
    try {
      const response = await ask(`ui/object?key=${encodeURIComponent(key)}`)
      const text = await response.text()
      if (shown !== this.#shown) return
      const isCut = response.headers.get('frequency-cut') === 'true'
      const first = Number(response.headers.get('frequency-events'))
      this.#text = text
      this.#body.classList.add('lines')
      showJsonLines(this.#body, text.trimEnd().split('\n'))
      setText(
        'detail-note',
        isCut ? `${key}: the first ${first} of ${some(events, 'event')}` : `${key}: ${some(events, 'event')}`,
      )
    } catch (error) {
      if (shown === this.#shown) setText('detail-note', /** @type {Error} */ (error).message)
    }
  }

  /** @param {string} title @param {string} note */
  #open(title, note) {
    setText('detail-title', title)
    setText('detail-note', note)
    this.#text = ''
    this.#body.replaceChildren()
    this.#body.classList.remove('lines')
    if (!this.#dialog.open) this.#dialog.showModal()
    this.#body.scrollTop = 0
    return ++this.#shown
  }
}
