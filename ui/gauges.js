/** The instruments below the chart: what waits, the spool, and the open batch. */
import { bytes, count, percent, some, span } from './wording.js'

/** How much of the fill rate of a batch is what was seen last. */
const RATE_WEIGHT = 0.3
/** From here on a meter is a warning, where being full is none of its ends. */
const HIGH_SHARE = 0.8

/** @param {string} id */
export function part(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id))
}

/** Touches the page only where something has changed. @param {string} id @param {string} text */
export function say(id, text) {
  const element = part(id)
  if (element.textContent !== text) element.textContent = text
}

/** @param {string} id of a meter @param {number} share */
function fill(id, share) {
  const meter = part(id)
  const parts = Math.min(100, share * 100)
  meter.setAttribute('aria-valuenow', String(Math.round(parts)))
  meter.classList.toggle('high', share >= HIGH_SHARE)
  const bar = /** @type {HTMLElement} */ (meter.firstElementChild)
  bar.style.width = `${parts}%`
}

/** @param {any} about @param {any} state */
export function showWaiting(about, { waiting, held = 0, disk, oldestAt, at }) {
  if (about.hasBroker) {
    // On the broker events travel several in a message; how many they are, only they themselves say.
    say('waiting', waiting === undefined ? '?' : count(waiting.messages))
    const unit = waiting?.messages === 1 ? 'message in the queue' : 'messages in the queue'
    say('waiting-unit', waiting === undefined ? 'not known: the broker does not answer' : unit)
    part('held-row').hidden = about.archive === undefined && !about.hasSpool
    say('held-name', about.archive === undefined ? 'in the spool' : 'being archived')
    say('held', some(about.archive === undefined ? disk.events : held, 'event'))
  } else {
    say('waiting', count(disk.events))
    say('waiting-unit', disk.events === 1 ? 'event' : 'events')
    say('held-name', 'of these, in a batch')
    say('held', count(held))
  }
  const isEmpty = held === 0 && disk.events === 0 && (!about.hasBroker || waiting?.messages === 0)
  say('oldest', isEmpty ? 'none' : oldestAt === undefined ? 'not known' : `${span(at - oldestAt)} old`)
  part('dead-row').hidden = !waiting?.dead
  say('dead', some(waiting?.dead ?? 0, 'message'))
}

/** @param {any} about @param {any} state */
export function showSpool(about, { disk }) {
  part('spool').hidden = about.hasBroker && !about.hasSpool
  say('spool-title', about.hasBroker ? 'Spool on disk' : 'Queue on disk')
  const share = disk.bytesMax === 0 ? 0 : disk.bytes / disk.bytesMax
  say('spool-share', disk.events === 0 ? 'empty' : percent(share))
  say('spool-unit', disk.events === 0 ? '' : 'full')
  fill('spool-meter', disk.events === 0 ? 0 : share)
  say('spool-holds', `${some(disk.events, 'event')}${disk.events === 0 ? '' : `, ${bytes(disk.bytes)}`}`)
  say('spool-room', bytes(Math.max(0, disk.bytesMax - disk.bytes)))
}

/** The open batch, and what will close it: the limit that it reaches first, going on as it does. */
export class BatchGauge {
  #openedAt = 0
  #at = 0
  #events = 0
  #bytes = 0
  #eventsPerMs = 0
  #bytesPerMs = 0

  /** @param {any} about @param {any} state */
  show({ archive, limits }, { batch, at }) {
    part('batch').hidden = archive === undefined
    if (archive === undefined) return
    if (batch === undefined) {
      this.#openedAt = 0
      say('batch-closes', 'none')
      say('batch-why', 'opens with the next event')
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
    say('batch-closes', left[decides] < 1000 ? 'now' : `in ${Math.round(left[decides] / 1000)} s`)
    say(
      'batch-why',
      {
        age: 'it closes by its age',
        events: 'it closes, full by its events',
        bytes: 'it closes, full by its bytes',
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
    say('batch-events-text', `${count(batch.events)} of ${count(limits.events)}`)
    say('batch-bytes-text', `${bytes(batch.bytes)} of ${bytes(limits.bytes)}`)
    say('batch-age-text', `${span(age)} of ${span(limits.ageMs)}`)
    for (const each of document.querySelectorAll('.limits > div')) {
      each.classList.toggle('decides', each.getAttribute('data-limit') === decides)
    }
  }
}
