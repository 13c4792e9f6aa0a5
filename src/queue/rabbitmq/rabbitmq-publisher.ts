import { AMQPError, type Channel } from 'rabbitmq-client'
import { QueueUnavailable } from '../../errors.ts'
import type { EventGroup } from '../../event/event-group.ts'
import type { Durability } from '../queue.ts'
import { BrokerStats } from '../queue-stats.ts'
import type { RabbitmqConnection } from './rabbitmq-connection.ts'
import { messageProperties } from './rabbitmq-message.ts'
import type { RabbitmqConfig } from './rabbitmq-topology.ts'

/** What may wait for its confirm. Past it the broker is not keeping up, and a client does better to wait. */
const IN_FLIGHT_EVENTS_MAX = 10_000
const IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024
const SWEEPS_PER_TIMEOUT = 10
/**
 * A channel whose first publish meets a quorum queue without a leader is refused every later one, long
 * after there is a leader again (seen on RabbitMQ 3.10); a new channel is not. A queue that is full
 * refuses as well, so channels are not reopened all the time.
 */
const REOPEN_MS_MIN = 2_000
/**
 * After this a stalled channel is given up for a new one. What it had in flight was rejected, so no confirm may be left
 * that would end the stall: a quorum queue that loses its leader may never send them (seen on RabbitMQ 3.10, after
 * nodes were disconnected).
 */
const STALL_MS_MAX = 10_000
/** How long a refusal counts: nothing else would tell that it is over while nothing is published. */
const REFUSAL_MS = 10_000
const QUEUE_GONE = 'the queue does not exist any more'

interface InFlight {
  readonly since: number
  readonly reject: (reason: Error) => void
}

/**
 * Publishes with `mandatory` and waits for the broker's confirm, each within `publishMsMax`.
 *
 * A message for a queue that is gone is returned, and then confirmed nonetheless. The return is handed
 * on by the client library a turn of the event loop after it was read, so a confirm counts only once
 * that turn is over. Each publish has a correlation id of its own, by which a return is told from that of
 * another publish of the same events.
 */
export class RabbitmqPublisher {
  readonly stats = new BrokerStats()
  readonly #connection: RabbitmqConnection
  readonly #config: RabbitmqConfig
  readonly #inFlight = new Set<InFlight>()
  /** Correlation ids. */
  readonly #returned = new Set<string>()
  #published = 0
  #stalledChannel: NodeJS.Timeout | undefined
  #refusedAt = Number.NEGATIVE_INFINITY
  #reopenedAt = Number.NEGATIVE_INFINITY
  #turnEnd: Promise<void> | undefined
  #sweep: NodeJS.Timeout | undefined

  constructor(connection: RabbitmqConnection, config: RabbitmqConfig) {
    this.#connection = connection
    this.#config = config
  }

  /** What keeps the broker from confirming, in words for a person. */
  get trouble(): string | undefined {
    return this.#stalledChannel !== undefined
      ? `no confirm within ${this.#config.publishMsMax} ms`
      : undefined
  }

  /** That the broker has refused events of late, and has taken none since, in words for a person. */
  get refusal(): string | undefined {
    if (performance.now() - this.#refusedAt > REFUSAL_MS) return undefined
    return 'it refuses events: the queue is full, or has no leader, or is gone'
  }

  /** To be called for each channel that is published on. */
  watch(channel: Channel): void {
    this.#endStall()
    this.#returned.clear()
    channel.on('basic.return', message => {
      this.#returned.add(String(message.correlationId))
      // Opening the channel again declares the queue again.
      void channel.close()
    })
  }

  async publish(group: EventGroup): Promise<Durability> {
    const channel = this.#connection.channel
    const trouble = this.#connection.trouble ?? this.trouble
    if (channel === undefined || trouble !== undefined) {
      throw new QueueUnavailable(`The broker cannot take events now (${trouble}): send this again later.`)
    }
    const { inFlight } = this.stats
    if (
      inFlight.events + group.count > IN_FLIGHT_EVENTS_MAX ||
      inFlight.bytes + group.lines.length > IN_FLIGHT_BYTES_MAX
    ) {
      throw new QueueUnavailable('The broker is not keeping up: send this again later.')
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
      await this.#endOfTurn()
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
      throw new QueueUnavailable(`The broker did not take the events (${reason}): send them again later.`, {
        cause,
      })
    } finally {
      if (entry !== undefined) this.#inFlight.delete(entry)
      stats.inFlight.events -= group.count
      stats.inFlight.bytes -= group.lines.length
      if (this.#inFlight.size === 0) this.#stopSweep()
    }
  }

  /** A confirm that comes late ends a stall: what is in flight then probes the broker by itself. */
  async #send(channel: Channel, group: EventGroup, correlationId: string): Promise<void> {
    const properties = messageProperties(group)
    await channel.basicPublish(
      { routingKey: this.#config.amqpQueue, mandatory: true, durable: true, correlationId, ...properties },
      group.lines,
    )
    this.#endStall()
  }

  /**
   * One promise serves all confirms that arrive in the same turn. It takes one turn more than the first of
   * them would need: a return that was read between two of them is handed on after the first one's turn.
   */
  #endOfTurn(): Promise<void> {
    this.#turnEnd ??= new Promise(resolve => {
      setImmediate(() => {
        this.#turnEnd = undefined
        setImmediate(resolve)
      })
    })
    return this.#turnEnd
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
