/** Helpers for tests of queues: queues that are deleted after the test, and a consumer that keeps its deliveries. */
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

/** Returns the URL of the broker that run.ts has started. @throws Error if there is none */
export function brokerUrl(): string {
  const url = process.env.TEST_AMQP_URL
  if (url === undefined) throw new Error('TEST_AMQP_URL is not set. Run `npm test -- FILE`.')
  return url
}

/** Opens a channel of a separate connection, which is closed at the end of the test. */
export async function openChannel(t: Test, url = brokerUrl()): Promise<Channel> {
  const connection = new Connection({ url, retryLow: 50, retryHigh: 200 })
  connection.on('error', () => {})
  t.teardown(() => connection.unsafeDestroy())
  return connection.acquire()
}

/** Returns a new name. At the end of the test, its queue, dead-letter queue and exchange are deleted. */
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

/** A consumer that keeps its deliveries, and acknowledges none. */
export class Inbox implements DeliveryHandler {
  /** Deliveries since the last loss. */
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

  /** The `n` of each event. */
  get numbers(): number[] {
    return this.deliveries.flatMap(numbersOf)
  }

  get bytes(): number {
    return this.deliveries.reduce((sum, { body }) => sum + body.length, 0)
  }

  /** Returns the delivery of this index. A negative index counts from the end. @throws Error if there is none */
  at(index: number): Delivery {
    const delivery = this.deliveries.at(index)
    if (delivery === undefined) throw new Error(`There is no delivery ${index}`)
    return delivery
  }

  /** Returns the deliveries through this index. */
  through(index: number): Delivery[] {
    return this.deliveries.slice(0, this.deliveries.indexOf(this.at(index)) + 1)
  }

  async receives(count: number): Promise<void> {
    const hasThem = () => this.deliveries.length >= count
    await until(`${count} deliveries have come`, DELIVERY_MS_MAX, hasThem)
  }

  /** Resolves when no delivery has come in nine polls. Polls, not only time, so that a busy process is not taken for a quiet queue. */
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

/** Starts a TCP proxy before the broker of run.ts, so that a test can make the network fail. */
export async function openNetwork(t: Test): Promise<TcpProxy & { url: string }> {
  const url = new URL(brokerUrl())
  const proxy = await startTcpProxy({ port: Number(url.port) })
  t.teardown(() => proxy.close())
  url.port = String(proxy.port)
  return Object.assign(proxy, { url: url.href })
}

/** Resolves when publishing an event succeeds. */
export async function publishesAgain(queue: Queue): Promise<void> {
  await until('an event is taken', RECOVERY_MS_MAX, () =>
    queue.publish(eventOf({ event: 'e', n: -1 })).then(
      () => true,
      () => false,
    ),
  )
}

/** Publishes numbered events one after the other, also after errors, until stop(). Returns the numbers of confirmed events. */
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

/** Keeps the numbers of all events. At each tenth number, acknowledges the deliveries since the last time, latest first. */
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
