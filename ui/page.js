import { showObjects, showRefusals } from './archive-list.js'
import { copy, Detail } from './detail.js'
import { EventList, noteOf } from './event-list.js'
import { BatchGauge, part, say, showSpool, showWaiting } from './gauges.js'
import { RateChart, SERIES } from './rate-chart.js'
import { follow, keepToken } from './server.js'
import { clock, count, rate, some } from './wording.js'

/** What was left out of the events is told as a number a second, of the last few. */
const OMITTED_WEIGHT = 0.3

/** @type {any} */
let about
/** @type {Record<string, number>} */
let rates = {}
let filter = ''
/** What the stream was opened with. */
let filterShown = ''
let omitted = 0
let omittedPerSecond = 0
let isPointedAt = false
/** @type {{ stop(): void }} */
let following = { stop: () => {} }

const detail = new Detail()
const batch = new BatchGauge()
const events = new EventList(part('event-list'), {
  chosen: event => detail.showEvent(event),
  changed: () => showNote(),
})
/** @type {RateChart | undefined} */
let chart

function chartOnceVisible() {
  chart ??= new RateChart(part('chart'), (secondsAgo, pointedAt) => {
    isPointedAt = secondsAgo !== undefined
    say(
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
    say(`rate-${name}`, value === undefined ? '–' : rate(value))
  }
}

function showNote() {
  const hasRows = part('event-list').childElementCount > 0
  part('events-empty').hidden = hasRows
  say(
    'events-empty',
    filter === '' ? 'Events are shown here as they come.' : 'Nothing that matches has come since.',
  )
  say(
    'events-note',
    noteOf({ waiting: events.waiting, omitted: Math.round(omittedPerSecond), isPaused: events.isPaused }),
  )
}

/** @param {any} hello */
function greet(hello) {
  about = hello
  part('token-form').hidden = true
  part('live').hidden = false
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
  say('confirmed-name', about.hasBroker ? 'confirmed' : 'on disk')
  part('objects').hidden = about.archive === undefined
  const archive =
    about.archive === undefined ? 'Archiving is done by other processes.' : `Archive: ${about.archive}.`
  const share = about.workers > 1 ? ` This is one of ${about.workers} workers, and shows its own share.` : ''
  say('about', `Role ${about.role}.${share} Queue: ${about.queue}. ${archive}`)
  const url = new URL(about.publicUrl ?? location.href)
  if (about.publicUrl === undefined && about.eventsPort !== undefined) url.port = String(about.eventsPort)
  const key = about.wantsKey ? " -H 'x-write-key: A_KEY'" : ''
  say(
    'curl',
    `curl -i ${new URL('api/t', url)}${key} -H 'content-type: application/json' -d '{"event":"signed_up","user_id":"42"}'`,
  )
  chartOnceVisible().reset(about.history, hides)
}

/** @param {any} state */
function showState(state) {
  part('live').classList.remove('stale')
  rates = state.rates ?? {}
  if (state.isNext) chartOnceVisible().add(state.rates)
  if (!isPointedAt) showRates(rates)
  part('first').hidden = state.counts.in > 0
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
  showObjects(part('object-list'), objects, object => void detail.showObject(object))
  part('objects-empty').hidden = objects.length > 0
  say('objects-note', counts.archived === 0 ? '' : `${some(counts.archived, 'event')} archived`)
  showRefusals(part('refused-list'), refused.last, at)
  part('refused-empty').hidden = refused.total > 0
  say('refused-note', refused.total === 0 ? '' : `${count(refused.total)} since the start`)
}

/** @param {any} state */
function showTroubles({ troubles, takesEvents }) {
  const list = part('troubles')
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
  else if (troubles.length > 0) setStatus('warn', 'Takes events; something is not well')
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
    ? 'Events are taken all the same: until this is over they wait, on disk or in the queue.'
    : 'Clients get 503. What they do not send again is lost.'
  return text
}

/** @param {string} tone @param {string} text */
function setStatus(tone, text) {
  part('status').dataset.tone = tone
  say('status', text)
}

function start() {
  following.stop()
  following = follow(filter, {
    message(name, data) {
      if (name === 'hello') {
        filterShown = filter
        greet(data)
      } else if (name === 'state') showState(data)
      else if (name === 'events') {
        omitted += data.omitted
        if (data.events.length > 0) part('first').hidden = true
        events.add(data.events)
      }
    },
    lost(why) {
      part('live').classList.add('stale')
      setStatus('bad', `${why} Trying again …`)
    },
    refused({ status, message }) {
      if (status === 401) askForToken()
      else if (filter !== filterShown && status === 400) {
        say('filter-refused', message)
        filter = filterShown
        start()
      } else setStatus('bad', message)
    },
  })
}

function askForToken() {
  const input = /** @type {HTMLInputElement} */ (part('token'))
  part('live').hidden = true
  say('token-refused', part('token-form').hidden ? '' : 'That is not the token.')
  part('token-form').hidden = false
  setStatus('wait', 'Locked')
  input.focus()
}

part('token-form').addEventListener('submit', event => {
  event.preventDefault()
  keepToken(/** @type {HTMLInputElement} */ (part('token')).value.trim())
  start()
})

part('filter-form').addEventListener('submit', event => {
  event.preventDefault()
  const text = /** @type {HTMLInputElement} */ (part('filter')).value.trim()
  say('filter-refused', '')
  if (text === filter) return
  filter = text
  events.clear()
  start()
})

// The cross in a search field, and emptying it, takes the filter away at once.
part('filter').addEventListener('input', ({ target }) => {
  const form = /** @type {HTMLFormElement} */ (part('filter-form'))
  if (/** @type {HTMLInputElement} */ (target).value === '') form.requestSubmit()
})

part('pause').addEventListener('click', () => {
  events.isPaused = !events.isPaused
  part('pause').setAttribute('aria-pressed', String(events.isPaused))
  say('pause', events.isPaused ? 'Go on' : 'Pause')
})

part('copy-curl').addEventListener('click', () => {
  void copy(part('copy-curl'), part('curl'), part('curl').textContent ?? '')
})

start()
