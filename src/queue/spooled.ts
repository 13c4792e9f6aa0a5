/**
 * RabbitMQ, with a queue on local disk as its overflow: while the broker cannot take an event, or does
 * not confirm it in time, the event goes to the spool and is as durable there. When the broker is back
 * the spool drains into it, oldest first, and new events go straight to the broker meanwhile.
 *
 * Events whose confirm did not come may be on the broker's queue nonetheless, and so may some that were
 * on their way out of the spool when the process died. All of them are published again, and archived once.
 *
 * Each process has a spool of its own, `DATA_DIR/spool/<number>`. What a process left that is gone is
 * drained by the next one that starts with the same DATA_DIR; and so is an embedded queue, of before there
 * was a broker.
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
/** Of what the broker may have in flight (rabbitmq-publisher.ts) the smaller part: new events go there meanwhile. */
const DRAIN_EVENTS_MAX = 4_000
const DRAIN_BYTES_MAX = 16 * 1024 * 1024
const DRAIN_POLL_MS = 250
/** How often it is looked whether there is anything: nothing waits then, and each look wakes the process. */
const IDLE_POLL_MS = 1_000
/** After the broker has refused something, as one does whose queue is full. */
const DRAIN_RETRY_MS = 2_000
const SPOOLS_MAX = 64

class SpooledQueue implements Transport {
  readonly #broker: Transport
  readonly #spool: EmbeddedQueue
  /** With those of processes that are gone, until they are empty. */
  readonly #spools: Set<EmbeddedQueue>
  readonly #log: Logger
  readonly #closing = new AbortController()
  readonly #draining: Promise<void>[]
  #isSpooling = false

  /** @param left spools of processes that are gone */
  constructor(broker: Transport, spool: EmbeddedQueue, left: readonly EmbeddedQueue[], log: Logger) {
    this.#broker = broker
    this.#spool = spool
    this.#spools = new Set([spool, ...left])
    this.#log = log
    this.#draining = [this.#drain(spool), ...left.map(each => this.#drainAndClose(each))]
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
      if (isPossible && (await this.#drainWhileItGoes(spool, ending))) continue
      await delay(pauseMs(spool, isPossible), undefined, { signal: ending }).catch(() => {})
    }
  }

  /**
   * Acknowledges each delivery of the spool once it is published. Ends when all that was delivered is
   * published, when a publish fails, or on `ending`.
   *
   * @returns whether all that was delivered is published
   */
  async #drainWhileItGoes(spool: EmbeddedQueue, ending: AbortSignal): Promise<boolean> {
    const stop = new AbortController()
    let handedOut = 0
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
        handedOut++
        count(group, 1)
        const acknowledge = () => {
          count(group, -1)
          consumer.ack([delivery])
          if (++published === handedOut) stop.abort()
        }
        this.#broker.publish(group).then(acknowledge, () => stop.abort())
      },
      lost: () => {},
    })
    await aborted(AbortSignal.any([stop.signal, ending]))
    await consumer.stop()
    this.#report(spool, published)
    return published === handedOut
  }

  #report(spool: EmbeddedQueue, published: number): void {
    this.#log.debug({ published, left: spool.size }, 'Published from the spool.')
    if (spool.size > 0 || !this.#isSpooling) return
    this.#isSpooling = false
    this.#log.info('The spool is drained.')
  }
}

export interface SpoolPaths {
  /** Holds a spool for each process, in directories that are numbers. */
  readonly spools: string
  /** Where an embedded queue may be, from before there was a broker. */
  readonly embedded: string
}

/**
 * @param broker is closed with the queue, also where that cannot be opened
 * @throws ConfigInvalid where no spool can be opened.
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
        log.info({ events: embedded.size }, 'What is in the embedded queue goes to the broker.')
    }
    const [own, ...left] = spools as [EmbeddedQueue, ...EmbeddedQueue[]]
    return new SpooledQueue(broker, own, left, log)
  } catch (error) {
    await Promise.all([broker, ...spools].map(queue => queue.close()))
    throw error
  }
}

/** How many events wait for a broker in spools, or in an embedded queue, that no process has open. */
export async function countLeft(paths: SpoolPaths, config: EmbeddedConfig, log: Logger): Promise<number> {
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

/** Opens all that no other process has open, or makes one. */
async function openSpools(
  path: string,
  config: EmbeddedConfig,
  log: Logger,
  spools: EmbeddedQueue[],
): Promise<void> {
  const existing = await readdir(path).catch((): string[] => [])
  for (let number = 0; number < SPOOLS_MAX; number++) {
    const isThere = existing.includes(String(number))
    if (!isThere && spools.length > 0) continue
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

/** @param hasFailed whether its events could be published, and the broker did not take them */
function pauseMs(spool: EmbeddedQueue, hasFailed: boolean): number {
  if (hasFailed) return DRAIN_RETRY_MS
  return spool.size === 0 ? IDLE_POLL_MS : DRAIN_POLL_MS
}
