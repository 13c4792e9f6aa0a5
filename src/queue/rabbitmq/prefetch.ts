/**
 * Assumed events per message before the first delivery: the largest default group. If the prefetch is too
 * low, raising it costs one round trip. If it is too high, it takes messages away from other consumers.
 */
const EVENTS_PER_MESSAGE_AT_FIRST = 256
/** With this many messages in flight a connection stays busy, however few events they have. */
const MESSAGES_MIN = 64
/** Weight of one message in the moving average. */
const WEIGHT = 1 / 128
/** The prefetch changes only by this factor or more: a change needs a new consumer at the broker. */
const FACTOR_MIN = 2

export interface PrefetchOptions {
  /** Events that the consumer should hold unacknowledged. */
  readonly events: number
  /** Upper limit of the prefetch. */
  readonly messagesMax: number
}

/** The unacknowledged deliveries of a consumer. */
export interface Unacknowledged {
  readonly messages: number
  readonly events: number
}

/**
 * Chooses the prefetch: how many messages the broker delivers ahead of acknowledgements. A prefetch counts
 * messages, and a message has from one to thousands of events. So the prefetch follows the recent average of
 * events per message. The consumer then holds about the wanted number of events, and further messages go to other
 * consumers.
 */
export class Prefetch {
  readonly #options: PrefetchOptions
  #messages: number
  /** Moving average; undefined before the first delivery. */
  #eventsPerMessage: number | undefined

  constructor(options: PrefetchOptions) {
    this.#options = options
    this.#messages = this.#messagesFor(EVENTS_PER_MESSAGE_AT_FIRST)
  }

  /** The prefetch, in messages. */
  get messages(): number {
    return this.#messages
  }

  /** Counts a delivery with this many events into the average. */
  delivered(events: number): void {
    this.#eventsPerMessage ??= events
    this.#eventsPerMessage += (events - this.#eventsPerMessage) * WEIGHT
  }

  /** Changes the prefetch if the average asks for at least twice, or at most half, of it. @returns whether it changed */
  follow(): boolean {
    if (this.#eventsPerMessage === undefined) return false
    const wanted = this.#messagesFor(this.#eventsPerMessage)
    const isFar = wanted >= this.#messages * FACTOR_MIN || wanted * FACTOR_MIN <= this.#messages
    if (isFar) this.#messages = wanted
    return isFar
  }

  /**
   * Raises the prefetch if it is exhausted by at most half of the wanted events. This happens when messages
   * suddenly have fewer events. Without it a batch could wait for events that are not delivered.
   *
   * @returns whether it changed
   */
  raiseIfShort({ messages, events }: Unacknowledged): boolean {
    if (messages < this.#messages || events * FACTOR_MIN > this.#options.events) return false
    const eventsPerMessage = events / messages
    const wanted = this.#messagesFor(eventsPerMessage)
    if (wanted <= this.#messages) return false
    this.#messages = wanted
    this.#eventsPerMessage = eventsPerMessage
    return true
  }

  #messagesFor(eventsPerMessage: number): number {
    const { events, messagesMax } = this.#options
    return Math.min(messagesMax, Math.max(MESSAGES_MIN, Math.ceil(events / eventsPerMessage)))
  }
}
