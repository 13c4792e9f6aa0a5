/**
 * One test for each silent fault of a queue or a store: each event is archived once, and no archiver gets stuck. The
 * queue here does on command what its contract allows.
 */
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { Archiver } from '../../../src/archive/archiver.ts'
import { openIdIndex } from '../../../src/dedupe/open-id-index.ts'
import { StoreUnavailable } from '../../../src/errors.ts'
import { type Event, foreignEvent, stampEvent } from '../../../src/event/event.ts'
import { GroupBuilder } from '../../../src/event/event-group.ts'
import { decodeHead } from '../../../src/log/log-record.ts'
import { isObjectKey } from '../../../src/object/object-key.ts'
import { readEvents } from '../../../src/object/object-reader.ts'
import { createDeferred } from '../../../src/process/deferred.ts'
import { sleep } from '../../../src/process/sleep.ts'
import type { Consumer, Delivery, DeliveryHandler } from '../../../src/queue/queue.ts'
import { openStore } from '../../../src/store/open-store.ts'
import type { ObjectStore } from '../../../src/store/store.ts'
import { storeWith } from '../../helpers/archive-by-hand.ts'
import { configOf, eventOf, numberedEvents, range, silent, temporaryDirectory } from '../../helpers/helper.ts'
import { BUCKET, DAY_MS, openServer } from '../../helpers/log-helper.ts'
import type { S3RequestInfo, S3Server } from '../../services/s3-server.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 20_000
const HOUR_MS = 60 * 60 * 1000
const MIB = 1024 * 1024

/** A consumer that gets its deliveries from the test. */
class Channel implements Consumer {
  readonly acked = new Set<Delivery>()
  readonly deadLettered = new Set<Delivery>()
  /** The queue has deactivated it silently, and ignores its acknowledgements. */
  isDeactivated = false
  handler: DeliveryHandler | undefined

  ack(deliveries: readonly Delivery[]): void {
    if (!this.isDeactivated) for (const delivery of deliveries) this.acked.add(delivery)
  }

  dead(delivery: Delivery): void {
    this.deadLettered.add(delivery)
  }

  give(events: readonly Event[]): Delivery {
    const builder = new GroupBuilder()
    for (const event of events) builder.add(event)
    const group = builder.build()
    return this.deliver({ body: group.lines, redelivered: false, group })
  }

  deliver(delivery: Delivery): Delivery {
    this.handler?.delivery(delivery)
    return delivery
  }

  pause(): void {}
  resume(): void {}
  async stop(): Promise<void> {}
}

interface Running {
  readonly channel: Channel
  readonly archiver: Archiver
  readonly store: ObjectStore
}

/** @param changed methods that replace those of the archiver's store */
async function start(
  t: Test,
  settings: Record<string, string>,
  changed: (store: ObjectStore) => Partial<ObjectStore> = () => ({}),
): Promise<Running> {
  const config = configOf({
    S3_FORCE_PATH_STYLE: 'true',
    S3_IDLE_MS_MAX: '2000',
    ARCHIVE_URL: `s3://${BUCKET}/p`,
    ARCHIVE_COMPRESSION: 'none',
    BATCH_AGE_MS_MAX: '200',
    DATA_DIR: temporaryDirectory(t),
    ...settings,
  })
  const channel = new Channel()
  const queue = {
    consume: (handler: DeliveryHandler) => {
      channel.handler = handler
      return channel
    },
  }
  const store = await openStore(config)
  const index = await openIdIndex(join(config.dataDir, 'dedupe'), config, silent)
  t.teardown(() => index.close())
  const archiver = new Archiver({
    queue,
    store: storeWith(store, changed(store)),
    index,
    config,
    log: silent,
  })
  t.teardown(() => archiver.stop())
  await archiver.start()
  await until('it consumes', WAIT_MS_MAX, () => channel.handler !== undefined)
  return { channel, archiver, store }
}

async function archived(store: ObjectStore): Promise<number[]> {
  const numbers: number[] = []
  for await (const key of store.list(''))
    if (isObjectKey(key)) for await (const line of readEvents(store, key)) numbers.push(JSON.parse(line).n)
  return numbers.sort((a, b) => a - b)
}

async function holdsOnce(t: Test, { store }: Running, count: number): Promise<void> {
  await until(
    `${count} events are there`,
    WAIT_MS_MAX,
    async () => new Set(await archived(store)).size >= count,
  )
  t.same(await archived(store), range(count))
}

async function isAcked({ channel }: Running, deliveries: readonly Delivery[]): Promise<void> {
  await until('all is acknowledged', WAIT_MS_MAX, () =>
    deliveries.every(delivery => channel.acked.has(delivery)),
  )
}

const isObject = ({ operation, key }: S3RequestInfo) => operation === 'PutObject' && key.startsWith('p/dt=')

test('a consumer that is silently deactivated and activated again archives nothing twice', async t => {
  await openServer(t)
  const [a, b] = [await start(t, { BATCH_EVENTS_MAX: '10' }), await start(t, { BATCH_EVENTS_MAX: '10' })]
  const messages = range(5).map(n => numberedEvents(15, n * 15))
  // A holds all deliveries, and has archived half of a message.
  for (const events of messages.slice(0, 2)) a.channel.give(events)
  a.channel.isDeactivated = true
  // B gets the same deliveries, archives up to the middle of another message, and stops.
  for (const events of messages.slice(0, 4)) b.channel.give(events)
  await until('B has archived some', WAIT_MS_MAX, async () => (await archived(b.store)).length >= 50)
  await b.archiver.stop()
  // A is active again. It was not told, and gets its unacknowledged deliveries again.
  a.channel.isDeactivated = false
  const deliveries = messages.map(events => a.channel.give(events))
  await holdsOnce(t, a, 75)
  await isAcked(a, deliveries)
})

test('a delivery of a lost connection is neither acknowledged nor counted, and its events are archived once', async t => {
  await openServer(t)
  const running = await start(t, { BATCH_AGE_MS_MAX: '500' })
  const { channel, archiver } = running
  const events = numberedEvents(3)
  channel.give(events)
  channel.handler?.lost()
  t.same(archiver.stats.held, { deliveries: 0, events: 0 })
  const again = channel.give(events)
  await isAcked(running, [again])
  t.same([...channel.acked], [again])
  t.same(archiver.stats.held, { deliveries: 0, events: 0 })
  t.same(archiver.stats.settled, { deliveries: 1, events: 3 })
  await holdsOnce(t, running, 3)
})

for (const condition of ['both', 'PutObject'] as const) {
  test(`a writer stalls while another works off a backlog: the store checks the condition at ${condition}`, async t => {
    const { server } = await openServer(t)
    server.traits.condition = condition
    let stalls = 1
    server.fault(request => (isObject(request) && stalls-- > 0 ? { delayMs: 3_000 } : undefined))
    const filler = 'x'.repeat(MIB)
    const late = await start(t, { BATCH_EVENTS_MAX: '1000' })
    const successor = await start(t, { BATCH_EVENTS_MAX: '32', BATCH_AGE_MS_MAX: '1000' })
    const small = numberedEvents(10)
    const first = late.channel.give(small)
    await until('its object is being stored', WAIT_MS_MAX, () => server.requests.some(isObject))
    const large = range(22).map(n => eventOf({ event: 'e', n: n + 10, filler }))
    const second = [...small, ...large].map(event => successor.channel.give([event]))
    await holdsOnce(t, successor, 32)
    await isAcked(late, [first])
    await isAcked(successor, second)
  })
}

function foreign(n: number, receivedAt: string): Event {
  return foreignEvent(
    Buffer.from(JSON.stringify({ n, messageId: `old-${n}`, receivedAt })),
    new Date(),
  ) as Event
}

test('a message with events years apart is archived with one object an hour, even if answers are lost', async t => {
  const { server } = await openServer(t)
  server.fault(request =>
    isObject(request) && request.count % 2 === 0 ? { after: true, reset: true } : undefined,
  )
  const archive = await start(t, {})
  const years = ['2021-03-01', '2020-02-01', '2022-01-01'].map((day, n) => foreign(n, `${day}T00:00:00.000Z`))
  const delivery = archive.channel.give(years)
  const next = archive.channel.give(numberedEvents(2, 3))
  await holdsOnce(t, archive, 5)
  await isAcked(archive, [delivery, next])
  const days = [...server.objects(BUCKET).keys()].flatMap(key => /dt=([\d-]+)/.exec(key)?.[1] ?? [])
  t.same(days.sort().slice(0, 3), ['2020-02-01', '2021-03-01', '2022-01-01'])
})

test('a damaged object does not block other events', async t => {
  const { server } = await openServer(t)
  const archive = await start(t, {})
  const events = numberedEvents(7)
  archive.channel.give(events.slice(0, 3))
  await holdsOnce(t, archive, 3)
  const [key] = [...server.objects(BUCKET).keys()].filter(each => isObjectKey(each))
  await archive.store.replace(key as string, Buffer.from('{"n":0,'))
  const other = await start(t, {})
  const delivery = other.channel.give(events.slice(3))
  other.channel.give(events.slice(0, 3))
  await isAcked(other, [delivery])
})

test('a batch that drops duplicates is acknowledged when their object is stored too', async t => {
  const { server } = await openServer(t)
  let stalls = 1
  server.fault(request => (isObject(request) && stalls-- > 0 ? { delayMs: 3_000 } : undefined))
  const small = numberedEvents(10)
  const filler = 'x'.repeat(MIB / 10)
  const large = range(22).map(n => eventOf({ event: 'e', n: n + 10, filler }))
  const first = await start(t, { BATCH_EVENTS_MAX: '10' })
  const second = await start(t, { BATCH_EVENTS_MAX: '1000', BATCH_AGE_MS_MAX: '1000' })
  const delivery = second.channel.give([...small, ...large])
  first.channel.give(small)
  await isAcked(second, [delivery])
  t.same(await archived(second.store), range(32))
  await until('its first staged object is removed', WAIT_MS_MAX, () =>
    [...server.objects(BUCKET).keys()].every(key => !key.includes('/staged/')),
  )
})

test('a batch that is lost before it becomes an object is archived again', async t => {
  const { server } = await openServer(t)
  let losses = 1
  server.fault(({ operation }) =>
    operation === 'CopyObject' && losses-- > 0 ? { status: 404, code: 'NoSuchKey' } : undefined,
  )
  const archive = await start(t, { BATCH_EVENTS_MAX: '22' })
  const { channel } = archive
  const { handler } = channel
  const filler = 'x'.repeat(MIB / 10)
  const events = range(22).map(n => eventOf({ event: 'e', n, filler }))
  const lost = events.map(event => channel.give([event]))
  await until('it consumes again', WAIT_MS_MAX, () => channel.handler !== handler)
  t.notOk(lost.some(delivery => channel.acked.has(delivery)))
  const deliveries = events.map(event => channel.give([event]))
  await holdsOnce(t, archive, 22)
  await isAcked(archive, deliveries)
  t.match(archive.archiver.stats.archived, { events: 22, objects: 1 }, 'it is counted once')
})

test('archivers with other formats, compressions and sizes share an archive', async t => {
  await openServer(t)
  const settings = [
    { ARCHIVE_FORMAT: 'ndjson', ARCHIVE_COMPRESSION: 'gzip', BATCH_EVENTS_MAX: '7' },
    { ARCHIVE_FORMAT: 'json', ARCHIVE_COMPRESSION: 'none', BATCH_EVENTS_MAX: '100' },
    { ARCHIVE_FORMAT: 'json', ARCHIVE_COMPRESSION: 'gzip', BATCH_EVENTS_MAX: '13' },
  ]
  const archivers: Running[] = []
  for (const each of settings) archivers.push(await start(t, each))
  const events = numberedEvents(300)
  const given = range(90).map(n => {
    const running = archivers[n % 3] as Running
    const from = (n * 37) % 290
    return { running, delivery: running.channel.give(events.slice(from, from + 10)) }
  })
  given.push(...archivers.map(running => ({ running, delivery: running.channel.give(events) })))
  await holdsOnce(t, archivers[0] as Running, 300)
  for (const { running, delivery } of given) await isAcked(running, [delivery])
})

test('a batch that was sealed while no other writer was active is staged when its record has lost its number', async t => {
  const { server } = await openServer(t)
  const isRecord = ({ operation, key }: S3RequestInfo) =>
    operation === 'PutObject' && key.endsWith(`/log/${'1'.padStart(16, '0')}`)
  // Both send record 1 before they know of each other.
  let records = 0
  server.fault(request => (isRecord(request) && records++ === 0 ? { delayMs: 500 } : undefined))
  const [a, b] = [await start(t, { BATCH_EVENTS_MAX: '10' }), await start(t, { BATCH_EVENTS_MAX: '10' })]
  const deliveries = [a.channel.give(numberedEvents(10)), b.channel.give(numberedEvents(10, 10))] as const
  await holdsOnce(t, a, 20)
  await isAcked(a, [deliveries[0]])
  await isAcked(b, [deliveries[1]])
  t.equal(records, 2, 'one of them has lost')
  const bytes = [1, 2].map(number => {
    const record = server
      .objects(BUCKET)
      .get(`p/_frequency/log/${String(number).padStart(16, '0')}`) as Buffer
    return record.length - decodeHead(number, record).headBytes
  })
  t.ok((bytes[0] as number) > 0, 'a single writer sends the bytes in its record')
  t.equal(bytes[1], 0, 'with other writers it does not')
  t.same(
    [...server.objects(BUCKET).keys()].filter(key => key.includes('/staged/')),
    [],
  )
})

test('an object that a record in doubt may name stays staged when another record is sent', async t => {
  const { server } = await openServer(t)
  const [answered, staged] = [createDeferred<void>(), createDeferred<void>()]
  let isRecordSent = false
  const slow = (store: ObjectStore): Partial<ObjectStore> => ({
    create: async (key, body) => {
      const outcome = await store.create(key, body)
      if (isRecordSent || !key.endsWith('/log/0000000000000002')) return outcome
      isRecordSent = true
      await answered.promise
      throw new StoreUnavailable('the answer is lost')
    },
    put: async (key, body) => {
      if (isRecordSent) await staged.promise
      return store.put(key, body)
    },
    moveAll: async moves => {
      await sleep(300)
      return store.moveAll(moves)
    },
  })
  const other = await start(t, { BATCH_EVENTS_MAX: '10' })
  const stopped = await start(t, { BATCH_EVENTS_MAX: '10', BATCH_AGE_MS_MAX: '60000' }, slow)
  await isAcked(other, [other.channel.give(numberedEvents(10))])
  await until(
    'it has applied the record of another',
    WAIT_MS_MAX,
    () => stopped.archiver.logStatus?.position === 1,
  )
  const events = numberedEvents(15, 10)
  stopped.channel.give(events.slice(0, 10))
  await until('its record is sent', WAIT_MS_MAX, () => isRecordSent)
  stopped.channel.give(events.slice(10))
  const stops = stopped.archiver.stop()
  answered.resolve()
  await until('its record is in doubt', WAIT_MS_MAX, () => stopped.archiver.trouble === 'the answer is lost')
  staged.resolve()
  await stops
  await isAcked(other, [other.channel.give(events)])
  await holdsOnce(t, other, 25)
  const records = [...server.objects(BUCKET)].filter(([key]) => /\/log\/\d+$/.test(key))
  t.same(
    records.flatMap(([, bytes], number) => decodeHead(number, bytes).voids),
    [],
  )
})

test('a standby that takes over does not read archived objects', async t => {
  const { server } = await openServer(t)
  const [a, b] = [await start(t, { BATCH_EVENTS_MAX: '50' }), await start(t, { BATCH_EVENTS_MAX: '50' })]
  const events = numberedEvents(2_010)
  const taken = range(40).map(n => a.channel.give(events.slice(n * 50, n * 50 + 50)))
  await isAcked(a, taken)
  const records = [...server.objects(BUCKET).keys()].filter(key => key.includes('/log/')).length
  const lastNumber = String(records - 1).padStart(16, '0')
  const end = String(records).padStart(16, '0')
  const looksAtEnd = () =>
    server.requests.some(({ operation, key }) => operation === 'GetObject' && key.endsWith(end))
  await until('it has followed the log', WAIT_MS_MAX, looksAtEnd)
  const before = server.requests.length
  const delivery = b.channel.give(events.slice(1_990))
  await isAcked(b, [delivery])
  const since = server.requests.slice(before)
  const reads = since.filter(({ operation }) => /^(List|Get|Head)/.test(operation)).map(({ key }) => key)
  // Only the standby gets events now. It may read what it staged itself: it rebuilds a batch without an event that it
  // learns to be archived after it has staged the batch.
  const ownStaged = since
    .filter(({ operation, key }) => operation === 'PutObject' && key.includes('/staged/'))
    .map(({ key }) => key)
  const last = [...server.objects(BUCKET)].find(([key]) => key.endsWith(`/log/${lastNumber}`))?.[1] as Buffer
  const copies = decodeHead(records - 1, last).batches.map(({ key }) => key)
  t.strictSame(
    reads.filter(
      key => !/\/_frequency\/(log\/|waiting$)/.test(key) && !copies.includes(key) && !ownStaged.includes(key),
    ),
    [],
    'it reads only records, what it staged itself, and the objects of the record that has the copies',
  )
  await holdsOnce(t, b, 2_010)
})

/** Archives four events of 30 days ago, then six others over three hours, with a dedupe window of one hour. */
async function archiveAndForget(
  t: Test,
  server: S3Server,
  settings: Record<string, string> = {},
): Promise<{ spooled: Event[]; store: ObjectStore }> {
  const archive = await start(t, { DEDUPE_WINDOW_MS: String(HOUR_MS), ...settings })
  const receivedAt = new Date(Date.now() - 30 * DAY_MS)
  const spooled = range(4).map(n =>
    stampEvent(Buffer.from(JSON.stringify({ event: 'e', n })), {}, receivedAt),
  )
  archive.channel.give(spooled)
  await holdsOnce(t, archive, 4)
  for (const n of range(6)) {
    server.traits.clockShiftMs += HOUR_MS / 2
    archive.channel.give(numberedEvents(1, 4 + n))
    await holdsOnce(t, archive, 5 + n)
  }
  await archive.archiver.stop()
  return { spooled, store: archive.store }
}

test('a spool that is older than the dedupe window is archived once', async t => {
  const { server } = await openServer(t)
  const { spooled } = await archiveAndForget(t, server)
  const again = await start(t, { DEDUPE_WINDOW_MS: String(HOUR_MS) })
  const deliveries = [again.channel.give(spooled), again.channel.give(numberedEvents(1, 10))]
  await holdsOnce(t, again, 11)
  await isAcked(again, deliveries)
})

function requestsOf(server: S3Server, pattern: RegExp): number {
  return server.requests.filter(({ operation }) => pattern.test(operation)).length
}

test('an event that cannot be decided goes to the dead letters, and blocks no other', async t => {
  const { server } = await openServer(t)
  const { spooled, store } = await archiveAndForget(t, server)
  const key = [...server.objects(BUCKET).keys()].find(
    each => isObjectKey(each) && !each.includes(`dt=${today()}`),
  )
  await store.remove([key as string])
  const again = await start(t, { DEDUPE_WINDOW_MS: String(HOUR_MS) })
  const old = again.channel.give(spooled)
  const delivery = again.channel.give(numberedEvents(1, 10))
  await isAcked(again, [delivery])
  await until('it is dead-lettered', WAIT_MS_MAX, () => again.channel.deadLettered.has(old))
  t.notOk(again.channel.acked.has(old))
})

test('an event that is found in an object is decided, even if other objects of its time are gone', async t => {
  const { server } = await openServer(t)
  const { spooled, store } = await archiveAndForget(t, server, { BATCH_EVENTS_MAX: '2' })
  for (const [key, bytes] of server.objects(BUCKET))
    if (isObjectKey(key) && bytes.includes('"n":0,')) await store.remove([key])
  const again = await start(t, { DEDUPE_WINDOW_MS: String(HOUR_MS) })
  const [gone, found] = [again.channel.give(spooled.slice(0, 2)), again.channel.give(spooled.slice(2))]
  await isAcked(again, [found])
  await until('the event that cannot be decided is dead-lettered', WAIT_MS_MAX, () =>
    again.channel.deadLettered.has(gone),
  )
  t.strictSame([...again.channel.acked], [found])
})

function today(): string {
  return new Date().toISOString().slice(0, 10)
}

test('a batch needs two requests: its record and its object', async t => {
  const { server } = await openServer(t)
  const archive = await start(t, { BATCH_EVENTS_MAX: '10', BATCH_AGE_MS_MAX: '60000' })
  archive.channel.give(numberedEvents(10))
  await holdsOnce(t, archive, 10)
  const [puts, before] = [requestsOf(server, /Put/), server.requests.length]
  for (const n of range(20)) {
    const delivery = archive.channel.give(numberedEvents(10, 10 + n * 10))
    await isAcked(archive, [delivery])
  }
  t.equal(requestsOf(server, /Put/) - puts, 40)
  const others = server.requests.slice(before).filter(({ operation }) => operation !== 'PutObject')
  t.ok(others.length <= 6, `${others.length} looks at the end of the log meanwhile`)
})
