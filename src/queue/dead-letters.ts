import type { EventGroup } from '../event/event-group.ts'

/** A message that was dead-lettered: it cannot be archived, or the broker gave up on it. */
export interface DeadLetter {
  /** Does not change while the letter exists. Letters with equal bytes share one id. */
  readonly id: string
  readonly body: Buffer
  /** The events in it; undefined if another program published it. */
  readonly group: EventGroup | undefined
  /** Undefined if the queue has not recorded one. */
  readonly cause: DeadLetterCause | undefined
  /** AMQP properties and headers; empty on the embedded queue. */
  readonly properties: Readonly<Record<string, unknown>>
}

export interface DeadLetterCause {
  /** RabbitMQ's reason: `rejected`, `expired`, `maxlen` or `delivery_limit`. */
  readonly reason: string
  /** The queue that the message was on. */
  readonly queue: string
  readonly at: Date | undefined
}

/**
 * The dead letters of a queue, read one by one. A letter that `next` returned and that is neither retried nor
 * dropped stays a dead letter, also if this process is killed. On RabbitMQ it may then come after letters that
 * `next` did not return.
 */
export interface DeadLetters {
  /** Where the letters are, as a text for people, without secrets. */
  readonly description: string
  /** Number of letters at the time of opening. */
  readonly count: number
  /** The next letter, oldest first; undefined after the last one that existed at the time of opening. */
  next(): Promise<DeadLetter | undefined>
  /**
   * Publishes the last letter of `next` to its queue, and drops the letter once the message is durable there. If
   * this process is killed in between, both exist.
   *
   * @throws QueueUnavailable if the message was refused or not confirmed. The letter stays a dead letter.
   */
  retry(letter: DeadLetter): Promise<void>
  /** Removes the last letter of `next` for good. */
  drop(letter: DeadLetter): Promise<void>
  /** @throws QueueUnavailable if letters that were dropped or retried may still exist */
  close(): Promise<void>
}
