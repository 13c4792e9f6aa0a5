/** The gauges below the chart: waiting events, the spool, and the open batch. */
import { bytes, count, percent, some, span } from './wording.js'

/** Weight of the newest second in the mean rate at which a batch fills. */
const RATE_WEIGHT = 0.3
/** From this share on a meter gets the class `high`. */
const HIGH_SHARE = 0.8

/** @param {string} id */
export function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id))
}

/** Sets the text of an element, if it has changed. @param {string} id @param {string} text */
export function setText(id, text) {
  const element = byId(id)
  if (element.textContent !== text) element.textContent = text
}

/** @param {string} id of a meter @param {number} share */
function fill(id, share) {
  const meter = byId(id)
  const percentage = Math.min(100, share * 100)
  meter.setAttribute('aria-valuenow', String(Math.round(percentage)))
  meter.classList.toggle('high', share >= HIGH_SHARE)
  const bar = /** @type {HTMLElement} */ (meter.firstElementChild)
  bar.style.width = `${percentage}%`
}

/** @param {any} about @param {any} state */
export function showWaiting(about, { waiting, held = 0, disk, oldestAt, at }) {
  if (about.hasBroker) {
    // The broker counts messages, and a message has several events. So the number of events is unknown.
    setText('waiting', waiting === undefined ? '?' : count(waiting.messages))
    const unit = waiting?.messages === 1 ? 'message in the queue' : 'messages in the queue'
    setText('waiting-unit', waiting === undefined ? 'unknown: the broker does not answer' : unit)
    byId('held-row').hidden = about.archive === undefined && !about.hasSpool
    setText('held-name', about.archive === undefined ? 'in the spool' : 'being archived')
    setText('held', some(about.archive === undefined ? disk.events : held, 'event'))
  } else {
    setText('waiting', count(disk.events))
    setText('waiting-unit', disk.events === 1 ? 'event' : 'events')
    setText('held-name', 'of these, in a batch')
    setText('held', count(held))
  }
  const isEmpty = held === 0 && disk.events === 0 && (!about.hasBroker || waiting?.messages === 0)
  setText('oldest', isEmpty ? 'none' : oldestAt === undefined ? 'unknown' : `${span(at - oldestAt)} old`)
  byId('dead-row').hidden = !waiting?.dead
  setText('dead', some(waiting?.dead ?? 0, 'message'))
}

/** @param {any} about @param {any} state */
export function showSpool(about, { disk }) {
  byId('spool').hidden = about.hasBroker && !about.hasSpool
  setText('spool-title', about.hasBroker ? 'Spool on disk' : 'Queue on disk')
  const share = disk.bytesMax === 0 ? 0 : disk.bytes / disk.bytesMax
  setText('spool-share', disk.events === 0 ? 'empty' : percent(share))
  setText('spool-unit', disk.events === 0 ? '' : 'full')
  fill('spool-meter', disk.events === 0 ? 0 : share)
  setText('spool-holds', `${some(disk.events, 'event')}${disk.events === 0 ? '' : `, ${bytes(disk.bytes)}`}`)
  setText('spool-room', bytes(Math.max(0, disk.bytesMax - disk.bytes)))
}

/** The open batch, and the limit that closes it: the one that it reaches first at its current rate. */
export class BatchGauge {
  #openedAt = 0
  #at = 0
  #events = 0
  #bytes = 0
  #eventsPerMs = 0
  #bytesPerMs = 0

  /** @param {any} about @param {any} state */
  show({ archive, limits }, { batch, at }) {
    byId('batch').hidden = archive === undefined
    if (archive === undefined) return
    if (batch === undefined) {
      this.#openedAt = 0
      setText('batch-closes', 'none')
      setText('batch-why', 'opens with the next event')
      this.#limits(limits, { events: 0, bytes: 0 }, 0, undefined)
      return
    }
    this.#learn(batch, at)
    const age = Math.max(0, at - batch.openedAt)
    const left = {
      age: limits.ageMs - age,
      events: this.#msUntil(limits.events - batch.events, this.#eventsPerMs),
      bytes: this.#msUntil(limits.bytes - batch.bytes, this.#bytesPerMs),
    }
    const decides =
      left.events < left.age
        ? left.bytes < left.events
          ? 'bytes'
          : 'events'
        : left.bytes < left.age
          ? 'bytes'
          : 'age'
    setText('batch-closes', left[decides] < 1000 ? 'now' : `in ${Math.round(left[decides] / 1000)} s`)
    setText(
      'batch-why',
      {
        age: 'closes by its age',
        events: 'closes by its number of events',
        bytes: 'closes by its bytes',
      }[decides],
    )
    this.#limits(limits, batch, age, decides)
  }

  /** @param {any} batch @param {number} at */
  #learn(batch, at) {
    const isSame = batch.openedAt === this.#openedAt
    const since = isSame ? this.#at : batch.openedAt
    const [events, size] = isSame ? [this.#events, this.#bytes] : [0, 0]
    if (at > since) {
      this.#eventsPerMs += ((batch.events - events) / (at - since) - this.#eventsPerMs) * RATE_WEIGHT
      this.#bytesPerMs += ((batch.bytes - size) / (at - since) - this.#bytesPerMs) * RATE_WEIGHT
    }
    this.#openedAt = batch.openedAt
    this.#at = at
    this.#events = batch.events
    this.#bytes = batch.bytes
  }

  /** @param {number} left @param {number} perMs */
  #msUntil(left, perMs) {
    return perMs > 0 ? left / perMs : Number.POSITIVE_INFINITY
  }

  /** @param {any} limits @param {{ events: number, bytes: number }} batch @param {number} age @param {string | undefined} decides */
  #limits(limits, batch, age, decides) {
    fill('batch-events', batch.events / limits.events)
    fill('batch-bytes', batch.bytes / limits.bytes)
    fill('batch-age', age / limits.ageMs)
    setText('batch-events-text', `${count(batch.events)} of ${count(limits.events)}`)
    setText('batch-bytes-text', `${bytes(batch.bytes)} of ${bytes(limits.bytes)}`)
    setText('batch-age-text', `${span(age)} of ${span(limits.ageMs)}`)
    for (const each of document.querySelectorAll('.limits > div')) {
      each.classList.toggle('decides', each.getAttribute('data-limit') === decides)
    }
  }
}
