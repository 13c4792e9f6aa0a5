/**
 * The delivery tags of one AMQP channel, which count up from 1: which are open, and what to acknowledge
 * next. RabbitMQ closes the channel on an acknowledgement of a tag that it does not have, so each tag is
 * given out for acknowledgement once.
 */
export class DeliveryTags {
  /** All below it are settled. */
  #first = 1
  /** The tag that comes next. */
  #next = 1
  /** Settled, and not given out yet. */
  readonly #settled = new Set<number>()
  /** At or above `#first`, and known to the broker as settled. */
  readonly #sent = new Set<number>()

  /** Tags that the broker does not know as settled yet. */
  get unacknowledged(): number {
    return this.#next - this.#first - this.#sent.size
  }

  /** Tags that are settled and not given out yet; after `takePrefix` those beyond a gap. */
  get settled(): number {
    return this.#settled.size
  }

  /**
   * Notes the tag of a delivery.
   *
   * @returns tags before it that were never seen. They count as rejected: the caller returns them to the queue.
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

  /** Notes that a tag is to be acknowledged. False where it was settled before. */
  settle(tag: number): boolean {
    if (!this.#isOpen(tag)) return false
    this.#settled.add(tag)
    return true
  }

  /** Notes that the caller rejects a tag by itself. False where it was settled before, and must not be rejected. */
  reject(tag: number): boolean {
    if (!this.#isOpen(tag)) return false
    this.#sent.add(tag)
    return true
  }

  /**
   * The tag to acknowledge with `multiple`: it and all below it are settled, and it was not given out
   * before. Undefined where there is nothing to acknowledge so.
   */
  takePrefix(): number | undefined {
    let last: number | undefined
    for (; ; this.#first++) {
      if (this.#settled.delete(this.#first)) last = this.#first
      else if (!this.#sent.delete(this.#first)) return last
    }
  }

  /** The tags beyond a gap, to acknowledge one by one, lowest first. */
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
