import { PassThrough, Writable } from 'node:stream'
import t from 'tap'
import { type EventGroup, GroupBuilder } from '../../../src/event/event-group.ts'
import { parseFilter } from '../../../src/live/event-filter.ts'
import { Viewer } from '../../../src/live/viewer.ts'
import { eventOf, range } from '../../helpers/helper.ts'

function groupOf(fields: Record<string, unknown>[]): EventGroup {
  const group = new GroupBuilder()
  for (const each of fields) group.add(eventOf(each))
  return group.build()
}

function numbered(count: number, from = 0): EventGroup {
  return groupOf(
    range(count).map(n => ({ event: 'counted', n: from + n, parity: n % 2 === 0 ? 'even' : 'odd' })),
  )
}

interface Shown {
  numbers: number[]
  omitted: number
}

/** A viewer that reads at once, and its messages. */
function open(filter = '', eventsPerSecond = 50): { viewer: Viewer; shown(): Shown } {
  const sink = new PassThrough()
  const viewer = new Viewer(sink, { filter: parseFilter(filter), eventsPerSecond })
  function shown(): Shown {
    const text = String(sink.read() ?? '')
    const sum: Shown = { numbers: [], omitted: 0 }
    for (const [, data] of text.matchAll(/^event: events\ndata: (.*)\n\n/gm)) {
      const { events, omitted } = JSON.parse(data as string)
      sum.numbers.push(...events.map(({ json }: { json: string }) => JSON.parse(json).n))
      sum.omitted += omitted
    }
    return sum
  }
  return { viewer, shown }
}

t.test('a few events are all sent, unchanged', async t => {
  const { viewer, shown } = open()
  viewer.offer(numbered(3), 'disk')
  viewer.offer(groupOf([{ event: 'alone', n: 3 }]), 'broker')
  viewer.flush(100)
  t.strictSame(shown(), { numbers: [0, 1, 2, 3], omitted: 0 })
  viewer.flush(100)
  t.strictSame(shown(), { numbers: [], omitted: 0 })
})

t.test('of many events a sample is sent, and the others are counted', async t => {
  const { viewer, shown } = open()
  let numbers = 0
  let omitted = 0
  for (let tenth = 0; tenth < 50; tenth++) {
    for (let group = 0; group < 4; group++) viewer.offer(numbered(250), 'broker')
    viewer.flush(100)
    const now = shown()
    numbers += now.numbers.length
    omitted += now.omitted
  }
  t.equal(numbers + omitted, 50_000, 'each event is sent or counted')
  t.ok(numbers >= 250 && numbers <= 300, `50 a second, and as many at the start: ${numbers}`)
})

t.test('a rare event is found among many', async t => {
  const { viewer, shown } = open('kind=rare')
  for (let n = 0; n < 200; n++) viewer.offer(numbered(250), 'broker')
  viewer.offer(
    groupOf([...range(100).map(() => ({ event: 'a' })), { event: 'a', kind: 'rare', n: 7 }]),
    'broker',
  )
  viewer.flush(100)
  t.strictSame(shown(), { numbers: [7], omitted: 0 })
})

t.test('a filter parses a limited number of events per second, and counts the others as omitted', async t => {
  const { viewer, shown } = open('n=249')
  for (let n = 0; n < 40; n++) viewer.offer(numbered(250), 'broker')
  viewer.flush(1000)
  const { numbers, omitted } = shown()
  t.strictSame(numbers, Array(20).fill(249))
  t.equal(omitted, 5_000)
  viewer.offer(numbered(250), 'broker')
  viewer.flush(1000)
  t.strictSame(shown(), { numbers: [249], omitted: 0 })
})

t.test('large events use up the bytes of a second', async t => {
  const { viewer, shown } = open()
  const large = groupOf(range(20).map(n => ({ event: 'large', n, text: 'x'.repeat(400_000) })))
  viewer.offer(large, 'broker')
  viewer.flush(100)
  const { numbers, omitted } = shown()
  t.ok(numbers.length >= 5 && numbers.length <= 7, `${numbers.length} of 400 kB`)
  t.equal(numbers.length + omitted, 20)
})

t.test('a viewer that does not read is disconnected, and its unread bytes are limited', async t => {
  const sink = new Writable({ write: () => {} })
  const viewer = new Viewer(sink, { filter: undefined, eventsPerSecond: 1000 })
  let most = 0
  for (let n = 0; n < 1_000 && viewer.isConnected; n++) {
    viewer.offer(groupOf([{ event: 'a', text: 'x'.repeat(50_000) }]), 'broker')
    viewer.flush(100)
    most = Math.max(most, sink.writableLength)
  }
  t.notOk(viewer.isConnected)
  t.ok(most > 1024 * 1024 && most < 1.2 * 1024 * 1024, `${most} bytes`)
})
