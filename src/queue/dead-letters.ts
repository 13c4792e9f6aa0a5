import type { EventGroup } from '../event/event-group.ts'

/** A message that was set aside, because it cannot be archived, or the broker gave up on it. */
export interface DeadLetter {
  /** Stays the same for as long as the letter is there. Letters that are alike to the byte share one. */
  readonly id: string
  readonly body: Buffer
  /** The events in it; undefined where another program published it. */
  readonly group: EventGroup | undefined
  /** Undefined where nobody has noted it. */
  readonly cause: DeadLetterCause | undefined
  /** What else came with it: of the broker the properties and the headers. */
  readonly properties: Readonly<Record<string, unknown>>
}

export interface DeadLetterCause {
  /** `rejected`, `expired`, `maxlen` or `delivery_limit`: why RabbitMQ dead-letters. */
  readonly reason: string
  /** The queue that it was on. */
  readonly queue: string
  readonly at: Date | undefined
}

/**
 * The dead letters of a queue, one after the other. What is handed out and neither retried nor dropped
 * stays, also when this process is killed; on RabbitMQ it may then stand behind what was not handed out.
 */
export interface DeadLetters {
  /** Where they are, in words for a person, without secrets. */
  readonly description: string
  /** How many there were when they were opened. */
  readonly count: number
  /** The next one, oldest first; undefined at the end of those that were there when they were opened. */
  next(): Promise<DeadLetter | undefined>
  /**
   * Puts the last one that was handed out on its queue again, and drops it here once it is durable there. If
   * this process is killed in between it is in both places.
   *
   * @throws QueueUnavailable: it stays here.
   */
  retry(letter: DeadLetter): Promise<void>
  /** Removes the last one that was handed out for good. */
  drop(letter: DeadLetter): Promise<void>
  /** @throws QueueUnavailable where what was dropped or retried may be here still. */
  close(): Promise<void>
}
