/** What tests of queues have in common: queues that go with the test, and a consumer that keeps what it gets. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Channel, Connection } from 'rabbitmq-client'
import type { Test } from 'tap'
import type { Consumer, Delivery, DeliveryHandler, Queue } from '../../src/queue/queue.ts'
import { startTcpProxy, type TcpProxy } from '../services/tcp-proxy.ts'
import { until } from '../services/wait.ts'
import { eventOf, numberOf } from './helper.ts'

const DELIVERY_MS_MAX = 60_000
const QUIET_POLLS = 8
const RECOVERY_MS_MAX = 60_000
const RETRY_MS = 20

/** The broker that run.ts has started. */
export function brokerUrl(): string {
  const url = process.env.TEST_AMQP_URL
  if (url === undefined) throw new Error('TEST_AMQP_URL is not set: run this test with test/services/run.ts')
  return url
}

/** A channel beside the code under test. */
export async function openChannel(t: Test, url = brokerUrl()): Promise<Channel> {
  const connection = new Connection({ url, retryLow: 50, retryHigh: 200 })
  connection.on('error', () => {})
  t.teardown(() => connection.unsafeDestroy())
  return connection.acquire()
}

/** A name whose queues and exchange are deleted with the test. */
export function uniqueQueueName(t: Test, url = brokerUrl()): string {
  const name = `test-${randomUUID()}`
  t.teardown(async () => {
    const connection = new Connection({ url, retryLow: 50, retryHigh: 200 })
    connection.on('error', () => {})
    try {
      await connection.queueDelete({ queue: name })
      await connection.queueDelete({ queue: `${name}.dead` })
      await connection.exchangeDelete({ exchange: `${name}.dead` })
    } finally {
      connection.unsafeDestroy()
    }
  })
  return name
}

function numbersOf({ body }: Delivery): number[] {
  return body.toString().split('\n').map(numberOf)
}

/** A consumer that settles nothing by itself. */
export class Inbox implements DeliveryHandler {
  /** Since the last loss. */
  readonly deliveries: Delivery[] = []
  losses = 0
  readonly consumer: Consumer
  #onDelivery: (delivery: Delivery, consumer: Consumer) => void

  constructor(
    queue: Pick<Queue, 'consume'>,
    onDelivery: (delivery: Delivery, consumer: Consumer) => void = () => {},
  ) {
    this.#onDelivery = onDelivery
    this.consumer = queue.consume(this)
  }

  delivery(delivery: Delivery): void {
    this.deliveries.push(delivery)
    this.#onDelivery(delivery, this.consumer)
  }

  lost(): void {
    this.losses++
    this.deliveries.length = 0
  }

  /** What `n` is in each event. */
  get numbers(): number[] {
    return this.deliveries.flatMap(numbersOf)
  }

  get bytes(): number {
    return this.deliveries.reduce((sum, { body }) => sum + body.length, 0)
  }

  /** The delivery of this index, or counted from the end where it is negative. */
  at(index: number): Delivery {
    const delivery = this.deliveries.at(index)
    if (delivery === undefined) throw new Error(`There is no delivery ${index}`)
    return delivery
  }

  /** The deliveries up to this index, with it. */
  through(index: number): Delivery[] {
    return this.deliveries.slice(0, this.deliveries.indexOf(this.at(index)) + 1)
  }

  async receives(count: number): Promise<void> {
    const hasThem = () => this.deliveries.length >= count
    await until(`${count} deliveries have come`, DELIVERY_MS_MAX, hasThem)
  }

  /** Resolves once nothing more has come for a while, in which this process has not been idle. */
  async isQuiet(): Promise<void> {
    let count = this.deliveries.length
    let quietPolls = 0
    await until('no more deliveries come', DELIVERY_MS_MAX, () => {
      quietPolls = this.deliveries.length === count ? quietPolls + 1 : 0
      count = this.deliveries.length
      return quietPolls > QUIET_POLLS
    })
  }
}

/** A network between us and the broker that run.ts has started, which can fail. */
export async function openNetwork(t: Test): Promise<TcpProxy & { url: string }> {
  const url = new URL(brokerUrl())
  const proxy = await startTcpProxy({ port: Number(url.port) })
  t.teardown(() => proxy.close())
  url.port = String(proxy.port)
  return Object.assign(proxy, { url: url.href })
}

/** Resolves once the queue takes an event. */
export async function publishesAgain(queue: Queue): Promise<void> {
  await until('an event is taken', RECOVERY_MS_MAX, () =>
    queue.publish(eventOf({ event: 'e', n: -1 })).then(
      () => true,
      () => false,
    ),
  )
}

/** Publishes events that count up, one after the other, whatever happens; gives those that were confirmed. */
export function keepPublishing(t: Test, queue: Queue): { confirmed: number[]; stop(): Promise<void> } {
  const confirmed: number[] = []
  let isStopping = false
  const running = (async () => {
    for (let n = 0; !isStopping; n++) {
      try {
        await queue.publish(eventOf({ event: 'counted', n }))
        confirmed.push(n)
      } catch {
        await sleep(RETRY_MS)
      }
    }
  })()
  const stop = () => {
    isStopping = true
    return running
  }
  t.teardown(stop)
  return { confirmed, stop }
}

/** Keeps what was ever seen; at every tenth event acknowledges what has come since the last one, latest first. */
export function keepConsuming(queue: Queue): { seen: Set<number>; inbox: Inbox } {
  const seen = new Set<number>()
  let held: Delivery[] = []
  const inbox = new Inbox(queue, (delivery, consumer) => {
    held.unshift(delivery)
    const numbers = numbersOf(delivery)
    for (const n of numbers) seen.add(n)
    if (!numbers.some(n => n % 10 === 0)) return
    consumer.ack(held)
    held = []
  })
  return { seen, inbox }
}
