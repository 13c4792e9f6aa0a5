/**
 * A consumer that has measured nothing yet takes messages to be as large as ours are by default at the most. To raise a
 * prefetch takes one round trip, and one that is too high takes what other consumers could have.
 */
const EVENTS_A_MESSAGE_AT_FIRST = 256
/** So many messages keep a connection busy, however many events they have. */
const MESSAGES_MIN = 64
/** Of the moving average, a message. */
const WEIGHT = 1 / 128
/** A change costs a new consumer at the broker. */
const FACTOR_MIN = 2

export interface PrefetchOptions {
  /** Events that the consumer is to hold unacknowledged. */
  readonly events: number
  /** The prefetch is never larger. */
  readonly messagesMax: number
}

/** What a consumer holds unacknowledged now. */
export interface HeldNow {
  readonly messages: number
  readonly events: number
}

/**
 * How many messages a broker may deliver ahead of acknowledgements. A prefetch counts messages, and a
 * message has from one to thousands of events: the prefetch follows what messages had of late, so that
 * about the wanted number of events is held, and what is more overflows to other consumers.
 */
export class Prefetch {
  readonly #options: PrefetchOptions
  #messages: number
  #eventsAMessage: number | undefined

  constructor(options: PrefetchOptions) {
    this.#options = options
    this.#messages = this.#messagesFor(EVENTS_A_MESSAGE_AT_FIRST)
  }

  /** The prefetch that the broker is told, in messages. */
  get messages(): number {
    return this.#messages
  }

  /** Counts a delivery of so many events into the average. */
  delivered(events: number): void {
    this.#eventsAMessage ??= events
    this.#eventsAMessage += (events - this.#eventsAMessage) * WEIGHT
  }

  /** Changes the prefetch where the average asks for twice or half of it. True where it has changed. */
  follow(): boolean {
    if (this.#eventsAMessage === undefined) return false
    const wanted = this.#messagesFor(this.#eventsAMessage)
    const isFar = wanted >= this.#messages * FACTOR_MIN || wanted * FACTOR_MIN <= this.#messages
    if (isFar) this.#messages = wanted
    return isFar
  }

  /**
   * Raises a prefetch that is used up by less than half of the wanted events, as it is when messages
   * suddenly have fewer: a batch could wait for events that do not come. True where it has changed.
   */
  raiseIfShort({ messages, events }: HeldNow): boolean {
    if (messages < this.#messages || events * FACTOR_MIN > this.#options.events) return false
    const eventsAMessage = events / messages
    const wanted = this.#messagesFor(eventsAMessage)
    if (wanted <= this.#messages) return false
    this.#messages = wanted
    this.#eventsAMessage = eventsAMessage
    return true
  }

  #messagesFor(eventsAMessage: number): number {
    const { events, messagesMax } = this.#options
    return Math.min(messagesMax, Math.max(MESSAGES_MIN, Math.ceil(events / eventsAMessage)))
  }
}
