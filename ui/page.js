import { showObjects, showRefusals } from './archive-list.js'
import { copy, Detail } from './detail.js'
import { EventList, noteOf } from './event-list.js'
import { BatchGauge, byId, setText, showSpool, showWaiting } from './gauges.js'
import { RateChart, SERIES } from './rate-chart.js'
import { follow, keepToken } from './server.js'
import { clock, count, rate, some } from './wording.js'

/** Weight of the newest second in the mean of omitted events per second. */
const OMITTED_WEIGHT = 0.3

/** @type {any} */
let about
/** @type {Record<string, number>} */
let rates = {}
let filter = ''
/** The last filter that the server accepted. */
let acceptedFilter = ''
let omitted = 0
let omittedPerSecond = 0
let isPointedAt = false
/** @type {{ stop(): void }} */
let following = { stop: () => {} }

const detail = new Detail()
const batch = new BatchGauge()
const events = new EventList(byId('event-list'), {
  chosen: event => detail.showEvent(event),
  changed: () => showNote(),
})
/** @type {RateChart | undefined} */
let chart

function chartOnceVisible() {
  chart ??= new RateChart(byId('chart'), (secondsAgo, pointedAt) => {
    isPointedAt = secondsAgo !== undefined
    setText(
      'rates-when',
      secondsAgo === undefined ? 'last 5 minutes' : secondsAgo === 0 ? 'now' : `${secondsAgo} s ago`,
    )
    showRates(isPointedAt ? pointedAt : rates)
  })
  return chart
}

/** @param {Record<string, number | undefined>} shown */
function showRates(shown) {
  for (const name of SERIES) {
    const value = shown[name]
    setText(`rate-${name}`, value === undefined ? '–' : rate(value))
  }
}

function showNote() {
  const hasRows = byId('event-list').childElementCount > 0
  byId('events-empty').hidden = hasRows
  setText('events-empty', filter === '' ? 'New events appear here.' : 'No event has matched this filter yet.')
  setText(
    'events-note',
    noteOf({ waiting: events.waiting, omitted: Math.round(omittedPerSecond), isPaused: events.isPaused }),
  )
}

/** @param {any} hello */
function showServer(hello) {
  about = hello
  byId('token-form').hidden = true
  byId('live').hidden = false
  const hides = {
    archived: about.archive === undefined,
    spooled: !about.hasSpool,
    confirmed: false,
    in: false,
  }
  for (const name of SERIES) {
    const key = /** @type {HTMLElement} */ (document.querySelector(`.keys [data-series="${name}"]`))
    key.hidden = hides[name]
  }
  setText('confirmed-name', about.hasBroker ? 'confirmed' : 'on disk')
  byId('objects').hidden = about.archive === undefined
  const archive = about.archive === undefined ? 'Other processes archive.' : `Archive: ${about.archive}.`
  const share =
    about.workers > 1 ? ` One of ${about.workers} workers: the numbers are of this worker only.` : ''
  setText('about', `Role ${about.role}.${share} Queue: ${about.queue}. ${archive}`)
  const url = new URL(about.publicUrl ?? location.href)
  if (about.publicUrl === undefined && about.eventsPort !== undefined) url.port = String(about.eventsPort)
  const key = about.wantsKey ? " -H 'x-write-key: A_KEY'" : ''
  setText(
    'curl',
    `curl -i ${new URL('api/t', url)}${key} -H 'content-type: application/json' -d '{"event":"signed_up","user_id":"42"}'`,
  )
  chartOnceVisible().reset(about.history, hides)
}

/** @param {any} state */
function showState(state) {
  byId('live').classList.remove('stale')
  rates = state.rates ?? {}
  if (state.isNext) chartOnceVisible().add(state.rates)
  if (!isPointedAt) showRates(rates)
  byId('first').hidden = state.counts.in > 0
  document.title = state.counts.in > 0 ? `${rate(rates.in ?? 0)}/s · frequency` : 'frequency'
  showWaiting(about, state)
  showSpool(about, state)
  batch.show(about, state)
  showArchive(state)
  showTroubles(state)
  omittedPerSecond += (omitted - omittedPerSecond) * OMITTED_WEIGHT
  omitted = 0
  showNote()
}

/** @param {any} state */
function showArchive({ at, counts, objects = [], refused }) {
  showObjects(byId('object-list'), objects, object => void detail.showObject(object))
  byId('objects-empty').hidden = objects.length > 0
  setText('objects-note', counts.archived === 0 ? '' : `${some(counts.archived, 'event')} archived`)
  showRefusals(byId('refused-list'), refused.last, at)
  byId('refused-empty').hidden = refused.total > 0
  setText('refused-note', refused.total === 0 ? '' : `${count(refused.total)} since the start`)
}

/** @param {any} state */
function showTroubles({ troubles, takesEvents }) {
  const list = byId('troubles')
  const shown = JSON.stringify([troubles, takesEvents])
  if (list.dataset.shown !== shown) {
    list.dataset.shown = shown
    list.replaceChildren(...troubles.map((/** @type {any} */ trouble) => troubleOf(trouble, takesEvents)))
    list.lastElementChild?.append(consequenceOf(takesEvents))
    list.hidden = troubles.length === 0
  }
  const work = about.archive === undefined ? 'Takes events' : 'Takes and archives events'
  if (!takesEvents) setStatus('bad', 'Cannot take events now')
  else if ((rates.spooled ?? 0) > 0) setStatus('warn', 'Takes events into the spool')
  else if (troubles.length > 0) setStatus('warn', 'Takes events, with a problem')
  else setStatus('well', work)
}

/** @param {{ text: string, since: number }} trouble @param {boolean} takesEvents */
function troubleOf({ text, since }, takesEvents) {
  const row = document.createElement('li')
  row.dataset.tone = takesEvents ? 'warn' : 'bad'
  row.textContent = `Since ${clock(since)}: ${text}`
  return row
}

/** @param {boolean} takesEvents */
function consequenceOf(takesEvents) {
  const text = document.createElement('p')
  text.className = 'aside'
  text.textContent = takesEvents
    ? 'Events are still taken. They wait on disk or in the queue until this is solved.'
    : 'Clients get 503. Events that they do not send again are lost.'
  return text
}

/** @param {string} tone @param {string} text */
function setStatus(tone, text) {
  byId('status').dataset.tone = tone
  setText('status', text)
}

function start() {
  following.stop()
  following = follow(filter, {
    message(name, data) {
      if (name === 'hello') {
        acceptedFilter = filter
        showServer(data)
      } else if (name === 'state') showState(data)
      else if (name === 'events') {
        omitted += data.omitted
        if (data.events.length > 0) byId('first').hidden = true
        events.add(data.events)
      }
    },
    lost(why) {
      byId('live').classList.add('stale')
      setStatus('bad', `${why} Trying again …`)
    },
    refused({ status, message }) {
      if (status === 401) askForToken()
      else if (filter !== acceptedFilter && status === 400) {
        setText('filter-refused', message)
        filter = acceptedFilter
        start()
      } else setStatus('bad', message)
    },
  })
}

function askForToken() {
  const input = /** @type {HTMLInputElement} */ (byId('token'))
  byId('live').hidden = true
  setText('token-refused', byId('token-form').hidden ? '' : 'The token is wrong.')
  byId('token-form').hidden = false
  setStatus('wait', 'Locked')
  input.focus()
}

byId('token-form').addEventListener('submit', event => {
  event.preventDefault()
  keepToken(/** @type {HTMLInputElement} */ (byId('token')).value.trim())
  start()
})

byId('filter-form').addEventListener('submit', event => {
  event.preventDefault()
  const text = /** @type {HTMLInputElement} */ (byId('filter')).value.trim()
  setText('filter-refused', '')
  if (text === filter) return
  filter = text
  events.clear()
  start()
})

// Emptying the field, also by its cross, removes the filter at once.
byId('filter').addEventListener('input', ({ target }) => {
  const form = /** @type {HTMLFormElement} */ (byId('filter-form'))
  if (/** @type {HTMLInputElement} */ (target).value === '') form.requestSubmit()
})

byId('pause').addEventListener('click', () => {
  events.isPaused = !events.isPaused
  byId('pause').setAttribute('aria-pressed', String(events.isPaused))
  setText('pause', events.isPaused ? 'Continue' : 'Pause')
})

byId('copy-curl').addEventListener('click', () => {
  void copy(byId('copy-curl'), byId('curl'), byId('curl').textContent ?? '')
})

start()
