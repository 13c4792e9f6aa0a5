/**
 * The delivery tags of one AMQP channel, which count up from 1: which tags are open, and which to acknowledge
 * next. RabbitMQ closes the channel if a tag is acknowledged twice, so each tag is returned for acknowledgement
 * once.
 */
export class DeliveryTags {
  /** All lower tags are settled, and the broker knows it. */
  #first = 1
  /** The tag of the next delivery. */
  #next = 1
  /** Settled, and not acknowledged to the broker yet. */
  readonly #settled = new Set<number>()
  /** From `#first` on: acknowledged or rejected to the broker. */
  readonly #sent = new Set<number>()

  /** Number of tags that are neither acknowledged nor rejected to the broker. */
  get unacknowledged(): number {
    return this.#next - this.#first - this.#sent.size
  }

  /** Number of settled tags that are not acknowledged to the broker yet. After `takePrefix`: those behind a gap. */
  get settled(): number {
    return this.#settled.size
  }

  /**
   * Records the tag of a delivery.
   *
   * @returns lower tags that were skipped. They count as rejected, and the caller returns them to the queue.
   */
  delivered(tag: number): number[] {
    const skipped: number[] = []
    for (; this.#next < tag; this.#next++) {
      skipped.push(this.#next)
      this.#sent.add(this.#next)
    }
    this.#next = Math.max(this.#next, tag + 1)
    return skipped
  }

  /** Marks a tag for acknowledgement. @returns false if it was settled before */
  settle(tag: number): boolean {
    if (!this.#isOpen(tag)) return false
    this.#settled.add(tag)
    return true
  }

  /** Marks a tag as rejected by the caller. @returns false if it was settled before: then do not reject it */
  reject(tag: number): boolean {
    if (!this.#isOpen(tag)) return false
    this.#sent.add(tag)
    return true
  }

  /**
   * The tag to acknowledge with `multiple`: the last tag of the settled prefix.
   *
   * @returns undefined if the prefix has no tag that is still to be acknowledged
   */
  takePrefix(): number | undefined {
    let last: number | undefined
    for (; ; this.#first++) {
      if (this.#settled.delete(this.#first)) last = this.#first
      else if (!this.#sent.delete(this.#first)) return last
    }
  }

  /** The settled tags behind a gap, to acknowledge one by one, lowest first. */
  takeRest(): number[] {
    const tags = [...this.#settled].sort((a, b) => a - b)
    for (const tag of tags) this.#sent.add(tag)
    this.#settled.clear()
    return tags
  }

  #isOpen(tag: number): boolean {
    return tag >= this.#first && tag < this.#next && !this.#settled.has(tag) && !this.#sent.has(tag)
  }
}
