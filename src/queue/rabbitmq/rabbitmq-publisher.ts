import { AMQPError, type Channel } from 'rabbitmq-client'
import { QueueUnavailable } from '../../errors.ts'
import type { EventGroup } from '../../event/event-group.ts'
import type { Durability } from '../queue.ts'
import { BrokerStats } from '../queue-stats.ts'
import { ReturnBarrier } from './client-internals.ts'
import type { RabbitmqConnection } from './rabbitmq-connection.ts'
import { messageProperties } from './rabbitmq-message.ts'
import type { RabbitmqConfig } from './rabbitmq-topology.ts'

/** Limits of what waits for publisher confirms. Above them the broker is too slow, and publishes are refused. */
const IN_FLIGHT_EVENTS_MAX = 10_000
const IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024
const SWEEPS_PER_TIMEOUT = 10
/**
 * Least time between two reopenings of the channel after a `basic.nack`. If the first publish of a channel meets a
 * quorum queue without a leader, RabbitMQ 3.10 refuses every later publish on that channel, also once there is
 * a leader again. A new channel works. A full queue refuses as well, so reopening is limited.
 */
const REOPEN_MS_MIN = 2_000
/**
 * How long a channel may stall before a new one replaces it. A late confirm ends a stall. It may never come: a
 * quorum queue that loses its leader may drop its confirms (seen on RabbitMQ 3.10 after nodes were disconnected).
 */
const STALL_MS_MAX = 10_000
/** How long a refusal counts. While nothing is published, no success can end it. */
const REFUSAL_MS = 10_000
const QUEUE_GONE = 'the queue does not exist any more'

interface InFlight {
  readonly since: number
  readonly reject: (reason: Error) => void
}

/**
 * Publishes with `mandatory`, and waits for the publisher confirm, at most `publishMsMax` milliseconds.
 *
 * If the queue was deleted, RabbitMQ returns the message and still confirms it. So a confirm counts only after
 * the barrier for returns. Each publish has its own correlation id, because the same events may be published
 * twice, and only one of these messages may be returned.
 */
export class RabbitmqPublisher {
  readonly stats = new BrokerStats()
  readonly #connection: RabbitmqConnection
  readonly #config: RabbitmqConfig
  readonly #inFlight = new Set<InFlight>()
  /** Correlation ids of returned messages. */
  readonly #returned = new Set<string>()
  readonly #returns = new ReturnBarrier()
  #published = 0
  #stalledChannel: NodeJS.Timeout | undefined
  #refusedAt = Number.NEGATIVE_INFINITY
  #reopenedAt = Number.NEGATIVE_INFINITY

  #sweep: NodeJS.Timeout | undefined

  constructor(connection: RabbitmqConnection, config: RabbitmqConfig) {
    this.#connection = connection
    this.#config = config
  }

  /** Why the broker does not confirm, as a text for people; undefined if it does. */
  get trouble(): string | undefined {
    return this.#stalledChannel !== undefined
      ? `no confirm within ${this.#config.publishMsMax} ms`
      : undefined
  }

  /** Why the broker refused events in the last 10 seconds, as a text for people; undefined once it has accepted some. */
  get refusal(): string | undefined {
    if (performance.now() - this.#refusedAt > REFUSAL_MS) return undefined
    return 'it refuses events: the queue is full, or has no leader, or is gone'
  }

  /** To be called with each new channel before it is published on. */
  watch(channel: Channel): void {
    this.#endStall()
    this.#returned.clear()
    channel.on('basic.return', message => {
      this.#returned.add(String(message.correlationId))
      // The next channel declares the queue again.
      void channel.close()
    })
  }

  async publish(group: EventGroup): Promise<Durability> {
    const channel = this.#connection.channel
    const trouble = this.#connection.trouble ?? this.trouble
    if (channel === undefined || trouble !== undefined) {
      throw new QueueUnavailable(`The broker cannot accept events now (${trouble}). Send this again later.`)
    }
    const { inFlight } = this.stats
    if (
      inFlight.events + group.count > IN_FLIGHT_EVENTS_MAX ||
      inFlight.bytes + group.lines.length > IN_FLIGHT_BYTES_MAX
    ) {
      throw new QueueUnavailable('The broker confirms too slowly. Send this again later.')
    }
    await this.#confirmed(channel, group)
    return 'broker'
  }

  async #confirmed(channel: Channel, group: EventGroup): Promise<void> {
    const correlationId = String(this.#published++)
    const { stats } = this
    const since = performance.now()
    let entry: InFlight | undefined
    const overdue = new Promise<never>((_, reject) => {
      entry = { since, reject }
      this.#inFlight.add(entry)
    })
    stats.inFlight.events += group.count
    stats.inFlight.bytes += group.lines.length
    this.#sweep ??= setInterval(() => this.#rejectOverdue(), this.#config.publishMsMax / SWEEPS_PER_TIMEOUT)
    try {
      await Promise.race([this.#send(channel, group, correlationId), overdue])
      await this.#returns.passed()
      if (this.#returned.delete(correlationId)) throw new Error(QUEUE_GONE)
      this.#refusedAt = Number.NEGATIVE_INFINITY
      stats.messages.confirmed++
      stats.confirmedEvents += group.count
      stats.confirmSeconds.observe((performance.now() - since) / 1000)
    } catch (cause) {
      const isRefused = cause instanceof AMQPError && cause.code === 'NACK'
      if (isRefused) this.#reopen(channel)
      if (isRefused || (cause as Error).message === QUEUE_GONE) {
        this.#refusedAt = performance.now()
        stats.messages.refused++
      } else {
        stats.messages.unconfirmed++
        stats.unconfirmedEvents += group.count
      }
      const reason = isRefused ? 'the queue is full, or has no leader' : (cause as Error).message
      throw new QueueUnavailable(`The broker did not accept the events (${reason}). Send them again later.`, {
        cause,
      })
    } finally {
      if (entry !== undefined) this.#inFlight.delete(entry)
      stats.inFlight.events -= group.count
      stats.inFlight.bytes -= group.lines.length
      if (this.#inFlight.size === 0) this.#stopSweep()
    }
  }

  /** Resolves at the confirm, also a late one. A confirm ends a stall, so messages in flight probe the broker. */
  async #send(channel: Channel, group: EventGroup, correlationId: string): Promise<void> {
    const properties = messageProperties(group)
    await channel.basicPublish(
      { routingKey: this.#config.amqpQueue, mandatory: true, durable: true, correlationId, ...properties },
      group.lines,
    )
    this.#endStall()
  }

  #rejectOverdue(): void {
    const oldest = performance.now() - this.#config.publishMsMax
    for (const { since, reject } of this.#inFlight) {
      if (since > oldest) return
      this.#stall()
      reject(new Error(`no confirm within ${this.#config.publishMsMax} ms`))
    }
  }

  #stall(): void {
    const { channel } = this.#connection
    this.#stalledChannel ??= setTimeout(() => void channel?.close(), STALL_MS_MAX).unref()
  }

  #endStall(): void {
    clearTimeout(this.#stalledChannel)
    this.#stalledChannel = undefined
  }

  #reopen(channel: Channel): void {
    const now = performance.now()
    if (now - this.#reopenedAt < REOPEN_MS_MIN) return
    this.#reopenedAt = now
    void channel.close()
  }

  #stopSweep(): void {
    clearInterval(this.#sweep)
    this.#sweep = undefined
  }
}
