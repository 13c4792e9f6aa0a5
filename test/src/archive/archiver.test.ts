/** The archiver moves events from real queues to real stores, and to an S3 server that fails. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import * as zlib from 'node:zlib'
import { type Test, test } from 'tap'
import type { Archiver } from '../../../src/archive/archiver.ts'
import { type Event, stampEvent } from '../../../src/event/event.ts'
import { DIGEST_VERSION } from '../../../src/event/message-id.ts'
import { createDecompressor } from '../../../src/object/format.ts'
import { openQueue } from '../../../src/queue/open-queue.ts'
import type { Consumer, DeliveryHandler, Durability, Queue } from '../../../src/queue/queue.ts'
import type { ObjectStore } from '../../../src/store/store.ts'
import { openArchiver } from '../../helpers/archiver-helper.ts'
import {
  configOf,
  elapsed,
  eventOf,
  numberedEvents,
  range,
  silent,
  temporaryDirectory,
} from '../../helpers/helper.ts'
import { brokerUrl, openChannel, openNetwork, uniqueQueueName } from '../../helpers/queue-helper.ts'
import { objectKeysOf, setEnvironment } from '../../helpers/store-helper.ts'
import { type S3Server, startS3Server } from '../../services/s3-server.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 60_000
const KIB = 1024
const MIB = 1024 * KIB
const HOUR_MS = '3600000'
const QUIET_POLLS = 8

interface ArchivedObject {
  readonly key: string
  readonly text: string
  /** The value of `n` in each of its events. */
  readonly numbers: number[]
}

/** A queue, and whether its consumer is paused now. */
class WatchedQueue implements Pick<Queue, 'trouble' | 'publish' | 'consume' | 'depth' | 'close'> {
  isPaused = false
  readonly #queue: Queue

  constructor(queue: Queue) {
    this.#queue = queue
  }

  get trouble(): string | undefined {
    return this.#queue.trouble
  }

  publish(event: Event): Promise<Durability> {
    return this.#queue.publish(event)
  }

  consume(handler: DeliveryHandler): Consumer {
    const consumer = this.#queue.consume(handler)
    const pauseOrResume = (isPaused: boolean) => {
      this.isPaused = isPaused
      if (isPaused) consumer.pause()
      else consumer.resume()
    }
    return {
      ack: deliveries => consumer.ack(deliveries),
      dead: delivery => consumer.dead(delivery),
      pause: () => pauseOrResume(true),
      resume: () => pauseOrResume(false),
      stop: () => consumer.stop(),
    }
  }

  depth(): Promise<number> {
    return this.#queue.depth()
  }

  close(): Promise<void> {
    return this.#queue.close()
  }
}

class Archive {
  readonly queue: WatchedQueue
  readonly store: ObjectStore
  readonly archiver: Archiver

  constructor(queue: WatchedQueue, store: ObjectStore, archiver: Archiver) {
    this.queue = queue
    this.store = store
    this.archiver = archiver
  }

  get isPaused(): boolean {
    return this.queue.isPaused
  }

  publish(events: Event[]): Promise<unknown> {
    return Promise.all(events.map(event => this.queue.publish(event)))
  }

  /** The objects, sorted by their first events. */
  async objects(): Promise<ArchivedObject[]> {
    const objects = await Promise.all((await objectKeysOf(this.store)).map(key => this.#read(key)))
    return objects.sort((a, b) => (a.numbers[0] ?? 0) - (b.numbers[0] ?? 0))
  }

  /** Resolves to the content of the objects when there are this many. */
  async holds(count: number): Promise<ArchivedObject[]> {
    const hasThem = async () => (await objectKeysOf(this.store)).length >= count
    await until(`${count} objects are there`, WAIT_MS_MAX, hasThem)
    return this.objects()
  }

  /** Resolves when all events from 0 to count - 1 are in objects. */
  async holdsEvents(count: number): Promise<ArchivedObject[]> {
    let objects: ArchivedObject[] = []
    await until(`${count} events are there`, WAIT_MS_MAX, async () => {
      objects = await this.objects()
      return new Set(objects.flatMap(({ numbers }) => numbers)).size >= count
    })
    return objects
  }

  async isQuiet(): Promise<void> {
    let count = 0
    let quietPolls = 0
    await until('no more objects come', WAIT_MS_MAX, async () => {
      const { length } = await objectKeysOf(this.store)
      quietPolls = length === count ? quietPolls + 1 : 0
      count = length
      return quietPolls > QUIET_POLLS
    })
  }

  /** Resolves to the depth of the queue when nothing more is taken from it. */
  async takesNoMore(): Promise<number> {
    let depth = -1
    let quietPolls = 0
    await until('no more is taken', WAIT_MS_MAX, async () => {
      const now = await this.queue.depth()
      quietPolls = now === depth ? quietPolls + 1 : 0
      depth = now
      return quietPolls > QUIET_POLLS
    })
    return depth
  }

  async #read(key: string): Promise<ArchivedObject> {
    const content = await text((await this.store.get(key)).pipe(createDecompressor(key)))
    const events = key.includes('.ndjson')
      ? content
          .split('\n')
          .slice(0, -1)
          .map(line => JSON.parse(line))
      : JSON.parse(content)
    return { key, text: content, numbers: events.map(({ n }: { n: number }) => n) }
  }
}

/** A running archiver, with the embedded queue and a directory unless `env` says otherwise. */
async function open(t: Test, env: Record<string, string> = {}): Promise<Archive> {
  const DATA_DIR = env.DATA_DIR ?? temporaryDirectory(t)
  const defaults = {
    DATA_DIR,
    ARCHIVE_URL: join(DATA_DIR, 'archive'),
    ARCHIVE_COMPRESSION: 'none',
    BATCH_AGE_MS_MAX: HOUR_MS,
    AMQP_ACK_TIMEOUT_MS: '10000000',
    // On a busy machine events could go to the spool, and lose their order.
    SPOOL: 'off',
    PUBLISH_MS_MAX: '60000',
    PUBLISH_EVENTS_MAX: '1',
  }
  const config = configOf({ ...defaults, ...env })
  const queue = new WatchedQueue(await openQueue(config, silent))
  t.teardown(() => queue.close())
  const { archiver, store } = await openArchiver(t, config, queue)
  await archiver.start()
  return new Archive(queue, store, archiver)
}

/** Settings for an S3 server that fails on command. */
async function startFailingS3(t: Test): Promise<{ server: S3Server; settings: Record<string, string> }> {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket('bucket')
  setEnvironment(t, server.env())
  const settings = { ARCHIVE_URL: 's3://bucket', S3_FORCE_PATH_STYLE: 'true', S3_IDLE_MS_MAX: '2500' }
  return { server, settings }
}

function archivedIn(server: S3Server): string[] {
  return [...server.objects('bucket').keys()].filter(key => key.includes('/dt='))
}

function requestsFor(server: S3Server, operation: string): number {
  return server.requests.filter(request => request.operation === operation).length
}

test('a batch closes at exactly its number of events', async t => {
  const archive = await open(t, { BATCH_EVENTS_MAX: '100' })
  await archive.publish(numberedEvents(250))
  t.same(
    (await archive.holds(2)).map(({ numbers }) => numbers),
    [range(100), range(200).slice(100)],
  )
  await archive.publish(numberedEvents(49, 250))
  await archive.isQuiet()
  t.equal((await archive.objects()).length, 2, 'the third batch lacks one event')
  await archive.publish(numberedEvents(1, 299))
  t.same((await archive.holds(3))[2]?.numbers, range(300).slice(200))
  t.equal(archive.archiver.trouble, undefined)
})

test('a batch may have a single event', async t => {
  const archive = await open(t, { BATCH_EVENTS_MAX: '1' })
  await archive.publish(numberedEvents(5))
  t.same(
    (await archive.holds(5)).map(({ numbers }) => numbers),
    range(5).map(n => [n]),
  )
})

for (const format of ['ndjson', 'json']) {
  test(`a batch does not exceed its bytes: ${format}`, async t => {
    const bytesMax = 4 * KIB
    const archive = await open(t, { BATCH_BYTES_MAX: String(bytesMax), ARCHIVE_FORMAT: format })
    const events = range(400).map(n => eventOf({ event: 'e', n, filler: 'x'.repeat((n * 37) % 300) }))
    await archive.publish(events)
    await archive.isQuiet()
    await archive.archiver.stop()
    const objects = await archive.objects()
    const sizes = objects.map(object => Buffer.byteLength(object.text))
    t.ok(Math.max(...sizes) <= bytesMax, `the largest has ${Math.max(...sizes)} bytes`)
    t.ok(
      Math.min(...sizes.slice(0, -1)) > bytesMax - 600,
      'and none closes before the next event would not fit',
    )
    t.same(
      objects.flatMap(({ numbers }) => numbers),
      range(400),
    )
  })
}

test('an event larger than a batch has an object of its own', async t => {
  const archive = await open(t, { BATCH_BYTES_MAX: '1KiB' })
  const large = eventOf({ event: 'e', n: 1, filler: 'x'.repeat(700 * KIB) })
  await archive.publish([eventOf({ event: 'e', n: 0 }), large, eventOf({ event: 'e', n: 2 })])
  const objects = await archive.holds(2)
  t.same(
    objects.map(({ numbers }) => numbers),
    [[0], [1]],
  )
  t.equal(objects[1]?.text, `${large.body}\n`)
})

test('a batch closes at its age, counted from its first event', async t => {
  const archive = await open(t, { BATCH_AGE_MS_MAX: '700' })
  await archive.isQuiet()
  t.same(await archive.objects(), [], 'no batch is opened without events')

  const ms = await elapsed(archive.publish(numberedEvents(3)).then(() => archive.holds(1)))
  t.ok(ms >= 700 && ms < 700 + 5_000, `after ${Math.round(ms)} ms`)
  t.same((await archive.objects())[0]?.numbers, range(3))

  for (let n = 3; (await archive.objects()).length < 3; n++) await archive.publish(numberedEvents(1, n))
  const numbers = (await archive.objects()).flatMap(object => object.numbers)
  t.same(numbers, range(numbers.length), 'later events do not keep it open')
})

test('the key has the time of the first event', async t => {
  const before = Date.now()
  const archive = await open(t, { BATCH_EVENTS_MAX: '1', ARCHIVE_COMPRESSION: 'gzip' })
  await archive.publish(numberedEvents(1))
  const [object] = await archive.holds(1)
  const after = Date.now()
  const [, day, hour, stamp = ''] =
    /^frequency\/dt=(.{10})\/hour=(\d\d)\/batch_(\d{8}T\d{9}Z)_\w+\.ndjson\.gz$/.exec(object?.key ?? '') ?? []
  const time = new Date(stamp.replace(/(....)(..)(..)T(..)(..)(..)(...)Z/, '$1-$2-$3T$4:$5:$6.$7Z'))
  t.ok(time.getTime() >= before && time.getTime() <= after)
  t.equal(time.toISOString().slice(0, 13), `${day}T${hour}`)
})

for (const format of ['ndjson', 'json']) {
  for (const compression of ['none', 'gzip', ...('createZstdCompress' in zlib ? ['zstd'] : [])]) {
    test(`the archived events equal the published ones: ${format}, ${compression}`, async t => {
      const archive = await open(t, {
        ARCHIVE_FORMAT: format,
        ARCHIVE_COMPRESSION: compression,
        BATCH_EVENTS_MAX: '50',
      })
      const bodies = [
        '{"event":"e","n":0,"id":9223372036854775807,"price":1.10,"e":1E+03}',
        '{"n":1,"event":"\\ud83d\\ude00 😀 \\u0000","z":{"a":[[[]]]},"a":null}',
        `{"event":"large","n":2,"noise":"${randomBytes(400 * KIB).toString('base64')}"}`,
        ...range(147).map(i => `{"event":"e","n":${i + 3},"noise":"${randomBytes(300).toString('hex')}"}`),
      ]
      const stamped = bodies.map(body => stampEvent(Buffer.from(body), {}, new Date()))
      await archive.publish(stamped)
      const objects = await archive.holds(3)
      const texts = stamped.map(({ body }) => body.toString())
      const wanted = range(3).map(i => texts.slice(50 * i, 50 * i + 50))
      const framed = (lines: string[]) =>
        format === 'json' ? `[\n${lines.join(',\n')}\n]\n` : `${lines.join('\n')}\n`
      t.ok(objects.every(({ text }, i) => text === framed(wanted[i] as string[])))
      const extension = { none: '', gzip: '.gz', zstd: '.zst' }[compression]
      t.ok(objects.every(({ key }) => key.endsWith(`.${format}${extension}`)))
    })
  }
}

test('other programs can read the objects', async t => {
  const dataDir = temporaryDirectory(t)
  const archive = await open(t, { DATA_DIR: dataDir, BATCH_EVENTS_MAX: '100', ARCHIVE_COMPRESSION: 'gzip' })
  const events = numberedEvents(100)
  await archive.publish(events)
  const [object] = await archive.holds(1)
  const file = join(dataDir, 'archive', object?.key ?? '')
  t.equal(execFileSync('gunzip', ['-c', file]).toString(), events.map(({ body }) => `${body}\n`).join(''))
})

test('exactly the archived deliveries are acknowledged', async t => {
  const dataDir = temporaryDirectory(t)
  const first = await open(t, { DATA_DIR: dataDir, BATCH_EVENTS_MAX: '10' })
  await first.publish(numberedEvents(25))
  await first.holds(2)
  await until('the rest is in the open batch', WAIT_MS_MAX, async () => (await first.queue.depth()) === 0)
  await first.queue.close()

  const second = await open(t, { DATA_DIR: dataDir, BATCH_EVENTS_MAX: '5' })
  const objects = await second.holds(3)
  t.same(
    objects.map(({ numbers }) => numbers),
    [range(10), range(20).slice(10), range(25).slice(20)],
  )
})

test('a stop seals, stores and acknowledges the open batch', async t => {
  const dataDir = temporaryDirectory(t)
  const first = await open(t, { DATA_DIR: dataDir })
  await first.publish(numberedEvents(10))
  await until('it has them all', WAIT_MS_MAX, async () => (await first.queue.depth()) === 0)
  await first.archiver.stop()
  t.same(
    (await first.objects()).map(({ numbers }) => numbers),
    [range(10)],
  )
  t.match(first.archiver.trouble, /stopped/)
  await first.publish(numberedEvents(5, 10))
  await first.archiver.stop()
  t.equal((await first.objects()).length, 1, 'nothing more is taken')
  await first.queue.close()

  const second = await open(t, { DATA_DIR: dataDir, BATCH_EVENTS_MAX: '5' })
  t.same((await second.holds(2))[1]?.numbers, [10, 11, 12, 13, 14])
})

test('a stop without events archives nothing', async t => {
  const archive = await open(t)
  await archive.archiver.stop()
  t.same(await archive.objects(), [])
})

test('the next batch fills while the last is being uploaded', async t => {
  const { server, settings } = await startFailingS3(t)
  const archive = await open(t, { ...settings, BATCH_EVENTS_MAX: '10' })
  let isFirst = true
  server.fault(({ operation }) => {
    if (operation !== 'PutObject' || !isFirst) return undefined
    isFirst = false
    return { hang: true }
  })
  await archive.publish(numberedEvents(20))
  await until('the second is filled', WAIT_MS_MAX, async () => (await archive.queue.depth()) === 0)
  t.same(archivedIn(server), [], 'the first is being uploaded')
  t.same(
    (await archive.holds(2)).map(({ numbers }) => numbers),
    [range(10), range(20).slice(10)],
  )
})

test('while the store hangs, most events stay in the queue', async t => {
  const { server, settings } = await startFailingS3(t)
  const archive = await open(t, settings)
  server.fault(({ operation }) => (/^(PutObject|UploadPart)$/.test(operation) ? { hang: true } : undefined))
  const filler = 'x'.repeat(256 * KIB)
  await archive.publish(range(160).map(n => eventOf({ event: 'e', n, filler })))
  await until('two parts hang', WAIT_MS_MAX, () => requestsFor(server, 'UploadPart') >= 2)
  const taken = 160 - (await archive.takesNoMore())
  t.ok(taken * filler.length < 30 * MIB, `${taken / 4} MiB of 40 are taken`)
  server.fault()
})

test('after a failure of the store all events are archived', async t => {
  const { server, settings } = await startFailingS3(t)
  const archive = await open(t, { ...settings, BATCH_EVENTS_MAX: '10' })
  server.fault(({ operation }) => (operation === 'PutObject' ? { status: 500 } : undefined))
  await archive.publish(numberedEvents(35))
  await until('it reports the failure', WAIT_MS_MAX, () => archive.archiver.trouble !== undefined)
  t.match(archive.archiver.trouble, /was not stored/)
  t.same(archivedIn(server), [])
  await archive.publish(numberedEvents(5, 35))
  server.fault()
  const objects = await archive.holdsEvents(40)
  t.ok(objects.every(({ numbers }) => numbers.length === 10))
  t.ok(objects.every(({ numbers }) => numbers.every((n, i) => n === (numbers[0] as number) + i)))
  t.equal(archive.archiver.trouble, undefined)
})

test('a batch whose multipart upload fails is archived again as a whole', async t => {
  const { server, settings } = await startFailingS3(t)
  const archive = await open(t, { ...settings, BATCH_EVENTS_MAX: '30' })
  let refusals = 0
  server.fault(({ operation, partNumber }) =>
    operation === 'UploadPart' && partNumber === 2 && refusals++ === 0 ? { status: 403 } : undefined,
  )
  const filler = 'x'.repeat(500 * KIB)
  const events = range(30).map(n => eventOf({ event: 'e', n, filler }))
  await archive.publish(events)
  const objects = await archive.holds(1)
  t.equal(requestsFor(server, 'AbortMultipartUpload'), 1)
  t.same(
    objects.map(({ numbers }) => numbers),
    [range(30)],
  )
  t.ok(objects[0]?.text === events.map(event => `${event.body}\n`).join(''))
  t.same(server.uploads('bucket'), [])
})

test('while the directory is missing, nothing is taken from the queue', async t => {
  const dataDir = temporaryDirectory(t)
  const archive = await open(t, { DATA_DIR: dataDir, BATCH_EVENTS_MAX: '10' })
  await archive.publish(numberedEvents(10))
  await archive.holds(1)
  const path = join(dataDir, 'archive')
  renameSync(path, `${path}-away`)
  writeFileSync(path, 'a file where the directory was')
  await archive.publish(numberedEvents(10, 10))
  await until('it reports the failure', WAIT_MS_MAX, () => archive.archiver.trouble !== undefined)
  await archive.publish(numberedEvents(10, 20))

  rmSync(path)
  renameSync(`${path}-away`, path)
  const objects = await archive.holds(3)
  t.same(
    objects.flatMap(({ numbers }) => numbers),
    range(30),
  )
  t.equal(archive.archiver.trouble, undefined)
})

test('a stop while the store fails leaves the events in the queue', async t => {
  const { server, settings } = await startFailingS3(t)
  const dataDir = temporaryDirectory(t)
  const failing = await open(t, { ...settings, DATA_DIR: dataDir, BATCH_EVENTS_MAX: '10' })
  server.fault(() => ({ status: 500 }))
  await failing.publish(numberedEvents(25))
  await until('it reports the failure', WAIT_MS_MAX, () => failing.archiver.trouble !== undefined)
  const ms = await elapsed(failing.archiver.stop())
  t.ok(ms < 10_000, `after ${Math.round(ms)} ms`)
  await failing.queue.close()

  server.fault()
  const again = await open(t, { ...settings, DATA_DIR: dataDir, BATCH_EVENTS_MAX: '25' })
  t.same(
    (await again.holds(1)).map(({ numbers }) => numbers),
    [range(25)],
  )
})

test('a message that is not a JSON object goes to the dead letters, and damages no batch', async t => {
  const name = uniqueQueueName(t)
  const dataDir = temporaryDirectory(t)
  const archive = await open(t, {
    AMQP_URL: brokerUrl(),
    AMQP_QUEUE: name,
    DATA_DIR: dataDir,
    BATCH_EVENTS_MAX: '6',
  })
  const channel = await openChannel(t)
  await channel.confirmSelect()
  const garbage = ['plain text', '[1,2]', '{"event":', 'null', '"{}"']
  await archive.publish(numberedEvents(2))
  for (const body of garbage) await channel.basicPublish({ routingKey: name }, Buffer.from(body))
  await channel.basicPublish({ routingKey: name, contentType: 'text/plain' }, 'more text')
  await archive.publish(numberedEvents(2, 2))
  await channel.basicPublish({ routingKey: name }, Buffer.from('{\n"n": 4, "id": 9223372036854775807\n}'))
  await archive.publish(numberedEvents(1, 5))

  const [object] = await archive.holds(1)
  t.same(object?.numbers, range(6))
  t.match(
    object?.text.split('\n')[4],
    /^\{ "n": 4, "id": 9223372036854775807 ,"messageId":"[^"]+","receivedAt":"[^"]+"\}$/,
  )
  const dead: string[] = []
  await until('they are in the dead letters', WAIT_MS_MAX, async () => {
    const message = await channel.basicGet({ queue: `${name}.dead`, noAck: true })
    if (message !== undefined) dead.push(String(message.body))
    return dead.length === garbage.length + 1
  })
  t.same(dead, [...garbage, 'more text'])
  await archive.archiver.stop()
  t.equal(await archive.queue.depth(), 0)
  t.equal(await channel.basicGet({ queue: `${name}.dead` }), undefined)
})

test('a message with wrong headers is read like one of another program', async t => {
  const name = uniqueQueueName(t)
  const archive = await open(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: name, BATCH_EVENTS_MAX: '6' })
  const channel = await openChannel(t)
  await channel.confirmSelect()
  const lines = numberedEvents(2).map(({ body }) => body.toString())
  const ids = (count: number) => Buffer.alloc(16 * count, 7).toString('base64')
  const send = (body: string, count: unknown, idCount: number) =>
    channel.basicPublish(
      {
        routingKey: name,
        type: 'frequency.events',
        contentEncoding: 'utf-8',
        headers: {
          'frequency-count': count,
          'frequency-ids': ids(idCount),
          'frequency-ids-version': DIGEST_VERSION,
        },
      },
      Buffer.from(body),
    )
  await send(lines.join('\n'), 3, 3)
  await send(
    numberedEvents(2, 2)
      .map(({ body }) => body)
      .join('\n'),
    1,
    1,
  )
  await send(
    numberedEvents(1, 4)
      .map(({ body }) => body)
      .join('\n'),
    0,
    0,
  )
  await send(`no JSON\n${lines[0]}`, 3, 3)
  await archive.publish(numberedEvents(1, 5))
  const [object] = await archive.holds(1)
  t.same(object?.numbers, range(6))
  await archive.archiver.stop()
  t.equal(await archive.queue.depth(), 0)
})

test('a lost connection loses no event, and archives none twice', async t => {
  const network = await openNetwork(t)
  const archive = await open(t, {
    AMQP_URL: network.url,
    AMQP_QUEUE: uniqueQueueName(t),
    BATCH_EVENTS_MAX: '100',
  })
  await archive.publish(numberedEvents(150))
  await archive.holds(1)
  await until('the open batch has the rest', WAIT_MS_MAX, async () => (await archive.queue.depth()) === 0)
  network.cut()
  await until('it is connected again', WAIT_MS_MAX, () =>
    archive.queue.publish(eventOf({ event: 'e', n: 150 })).then(
      () => true,
      () => false,
    ),
  )
  await archive.publish(numberedEvents(49, 151))
  const objects = await archive.holdsEvents(200)
  t.same(
    objects.map(({ numbers }) => numbers),
    [range(100), range(200).slice(100)],
  )
})

test('it archives again after a connection was lost while the store hung', async t => {
  const network = await openNetwork(t)
  const { server, settings } = await startFailingS3(t)
  const archive = await open(t, {
    ...settings,
    AMQP_URL: network.url,
    AMQP_QUEUE: uniqueQueueName(t),
    BATCH_EVENTS_MAX: '100',
  })
  server.fault(({ operation }) => (operation === 'UploadPart' ? { hang: true } : undefined))
  const filler = 'x'.repeat(256 * KIB)
  await archive.publish(range(100).map(n => eventOf({ event: 'e', n, filler })))
  await until('it pauses the queue', WAIT_MS_MAX, () => archive.isPaused)
  network.cut()
  await until('the connection is lost', WAIT_MS_MAX, () => archive.queue.trouble !== undefined)
  server.fault()
  const objects = await archive.holds(1)
  t.same(
    objects.map(({ numbers }) => numbers),
    [range(100)],
  )
  t.equal(archive.queue.trouble, undefined)
})
