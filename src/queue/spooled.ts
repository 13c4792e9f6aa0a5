/**
 * RabbitMQ with a spool: a queue on local disk for the time when the broker is away. If the broker does not
 * accept an event, or does not confirm it in time, the event goes to the spool, and is durable there. When the
 * broker works again, the spool is drained into it, oldest first. New events go straight to the broker meanwhile.
 *
 * An event without a confirm may be on the broker's queue nonetheless. So may an event that was being drained
 * when the process died. All of these are published again, and archived once.
 *
 * Each process has a spool of its own, `DATA_DIR/spool/<number>`. The next process that starts with the same
 * DATA_DIR drains the spools of exited processes, and an embedded queue from the time before there was a broker.
 */

import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ConfigInvalid, DirectoryInUse, QueueUnavailable } from '../errors.ts'
import type { EventGroup } from '../event/event-group.ts'
import { aborted } from '../process/deferred.ts'
import type { Logger } from '../process/logger.ts'
import { type EmbeddedConfig, type EmbeddedQueue, openEmbeddedQueue } from './embedded/embedded.ts'
import type { Consumer, DeliveryHandler, Durability, Part, Transport } from './queue.ts'
import type { TransportState, Waiting } from './queue-stats.ts'

const DRAIN_IN_FLIGHT_MAX = 500
/** Less than half of what may be in flight (rabbitmq-publisher.ts): the rest is for new events. */
const DRAIN_EVENTS_MAX = 4_000
const DRAIN_BYTES_MAX = 16 * 1024 * 1024
const DRAIN_POLL_MS = 250
/** Poll interval while the spool is empty. Each poll wakes the process. */
const IDLE_POLL_MS = 1_000
/** Pause after a publish from the spool failed, for example because the broker's queue is full. */
const DRAIN_RETRY_MS = 2_000
const SPOOLS_MAX = 64

class SpooledQueue implements Transport {
  readonly #broker: Transport
  readonly #spool: EmbeddedQueue
  /** The own spool, and those of exited processes until they are empty. */
  readonly #spools: Set<EmbeddedQueue>
  readonly #log: Logger
  readonly #closing = new AbortController()
  readonly #draining: Promise<void>[]
  #isSpooling = false

  /** @param orphans spools of exited processes */
  constructor(broker: Transport, spool: EmbeddedQueue, orphans: readonly EmbeddedQueue[], log: Logger) {
    this.#broker = broker
    this.#spool = spool
    this.#spools = new Set([spool, ...orphans])
    this.#log = log
    this.#draining = [this.#drain(spool), ...orphans.map(each => this.#drainAndClose(each))]
  }

  get description(): string {
    return `${this.#broker.description}, spooling to disk while it is away`
  }

  get trouble(): string | undefined {
    const trouble = this.#broker.trouble
    if (trouble === undefined) return undefined
    return this.#spool.trouble ?? `${trouble} (events are spooled to disk meanwhile: ${this.#spool.size})`
  }

  get intake(): readonly Part[] {
    return [...this.#broker.intake, { name: 'spool', trouble: this.#spool.intakeTrouble }]
  }

  get outlet(): readonly Part[] {
    return this.#broker.outlet
  }

  get state(): TransportState {
    return { broker: this.#broker.state.broker, disks: [...this.#spools] }
  }

  async publish(group: EventGroup): Promise<Durability> {
    if (this.#broker.trouble !== undefined) return this.#publishToSpool(group)
    try {
      return await this.#broker.publish(group)
    } catch (error) {
      if (!(error instanceof QueueUnavailable)) throw error
      return this.#publishToSpool(group)
    }
  }

  consume(handler: DeliveryHandler): Consumer {
    return this.#broker.consume(handler)
  }

  async depth(): Promise<number> {
    return this.#spool.size + (await this.#broker.depth())
  }

  waiting(): Promise<Waiting | undefined> {
    return this.#broker.waiting()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await Promise.all(this.#draining)
    await this.#spool.close()
    await this.#broker.close()
  }

  async #publishToSpool(group: EventGroup): Promise<Durability> {
    const durability = await this.#spool.publish(group)
    if (!this.#isSpooling) this.#log.warn({ reason: this.#broker.trouble }, 'Events are spooled to disk.')
    this.#isSpooling = true
    return durability
  }

  async #drainAndClose(spool: EmbeddedQueue): Promise<void> {
    const emptied = new AbortController()
    const watch = setInterval(() => spool.size === 0 && emptied.abort(), DRAIN_POLL_MS)
    await this.#drain(spool, AbortSignal.any([this.#closing.signal, emptied.signal]))
    clearInterval(watch)
    this.#spools.delete(spool)
    await spool.close()
  }

  async #drain(spool: EmbeddedQueue, ending: AbortSignal = this.#closing.signal): Promise<void> {
    while (!ending.aborted) {
      const isPossible = spool.size > 0 && this.#broker.trouble === undefined
      if (isPossible && (await this.#drainUntilIdle(spool, ending))) continue
      await delay(pauseMs(spool, isPossible), undefined, { signal: ending }).catch(() => {})
    }
  }

  /**
   * Publishes deliveries of the spool, and acknowledges each one once it is confirmed. Ends when no delivery is in
   * flight any more, when a publish fails, or on `ending`.
   *
   * @returns whether every delivery was published
   */
  async #drainUntilIdle(spool: EmbeddedQueue, ending: AbortSignal): Promise<boolean> {
    const stop = new AbortController()
    let delivered = 0
    let published = 0
    let events = 0
    let bytes = 0
    const count = (group: EventGroup, sign: 1 | -1): void => {
      events += sign * group.count
      bytes += sign * group.lines.length
      if (events < DRAIN_EVENTS_MAX && bytes < DRAIN_BYTES_MAX) consumer.resume()
      else consumer.pause()
    }
    const consumer = spool.consume({
      delivery: delivery => {
        const group = delivery.group as EventGroup
        delivered++
        count(group, 1)
        const acknowledge = () => {
          count(group, -1)
          consumer.ack([delivery])
          if (++published === delivered) stop.abort()
        }
        this.#broker.publish(group).then(acknowledge, () => stop.abort())
      },
      lost: () => {},
    })
    await aborted(AbortSignal.any([stop.signal, ending]))
    await consumer.stop()
    this.#report(spool, published)
    return published === delivered
  }

  #report(spool: EmbeddedQueue, published: number): void {
    this.#log.debug({ published, left: spool.size }, 'Published from the spool.')
    if (spool.size > 0 || !this.#isSpooling) return
    this.#isSpooling = false
    this.#log.info('The spool is drained.')
  }
}

export interface SpoolPaths {
  /** A directory with a spool per process, in subdirectories `0`, `1`, … */
  readonly spools: string
  /** The directory of an embedded queue, from the time before there was a broker. It need not exist. */
  readonly embedded: string
}

/**
 * Opens a broker's queue with a spool, and starts to drain it.
 *
 * @param broker closed together with the queue, and if the queue cannot be opened
 * @throws ConfigInvalid if no spool can be opened.
 */
export async function openSpooledQueue(
  broker: Transport,
  paths: SpoolPaths,
  given: EmbeddedConfig,
  log: Logger,
): Promise<Transport> {
  const config = { ...given, amqpPrefetch: DRAIN_IN_FLIGHT_MAX }
  const spools: EmbeddedQueue[] = []
  try {
    await openSpools(paths.spools, config, log, spools)
    if (spools.length === 0)
      throw new ConfigInvalid(`DATA_DIR: ${SPOOLS_MAX} processes have a spool in ${paths.spools} already.`)
    const embedded = existsSync(paths.embedded) && (await openUnlessInUse(paths.embedded, config, log))
    if (embedded) {
      spools.push(embedded)
      if (embedded.size > 0)
        log.info({ events: embedded.size }, 'The events in the embedded queue are published to the broker.')
    }
    const [own, ...orphans] = spools as [EmbeddedQueue, ...EmbeddedQueue[]]
    return new SpooledQueue(broker, own, orphans, log)
  } catch (error) {
    await Promise.all([broker, ...spools].map(queue => queue.close()))
    throw error
  }
}

/** Number of events in spools, and in an embedded queue, that no process has open. */
export async function countUnopened(paths: SpoolPaths, config: EmbeddedConfig, log: Logger): Promise<number> {
  const numbers = await readdir(paths.spools).catch((): string[] => [])
  const spools = numbers.filter(name => /^\d+$/.test(name)).map(name => join(paths.spools, name))
  let events = 0
  for (const path of [...spools, paths.embedded]) {
    if (!existsSync(path)) continue
    const queue = await openUnlessInUse(path, config, log)
    events += queue?.size ?? 0
    await queue?.close()
  }
  return events
}

/** Opens, into `spools`, every spool that no other process has open. Makes one if there is none. */
async function openSpools(
  path: string,
  config: EmbeddedConfig,
  log: Logger,
  spools: EmbeddedQueue[],
): Promise<void> {
  const existing = await readdir(path).catch((): string[] => [])
  for (let number = 0; number < SPOOLS_MAX; number++) {
    const isPresent = existing.includes(String(number))
    if (!isPresent && spools.length > 0) continue
    const spool = await openUnlessInUse(join(path, String(number)), config, log)
    if (spool !== undefined) spools.push(spool)
  }
}

async function openUnlessInUse(
  path: string,
  config: EmbeddedConfig,
  log: Logger,
): Promise<EmbeddedQueue | undefined> {
  try {
    return await openEmbeddedQueue(path, config, log)
  } catch (error) {
    if ((error as Error).cause instanceof DirectoryInUse) return undefined
    throw error
  }
}

/** @param hasFailed whether a publish from the spool has just failed */
function pauseMs(spool: EmbeddedQueue, hasFailed: boolean): number {
  if (hasFailed) return DRAIN_RETRY_MS
  return spool.size === 0 ? IDLE_POLL_MS : DRAIN_POLL_MS
}
