/** Compares delivery tags with a model of an AMQP channel that refuses unknown tags, as RabbitMQ does. */
import { test } from 'tap'
import { DeliveryTags } from '../../../src/queue/rabbitmq/delivery-tags.ts'
import { Random } from '../../fault/random.ts'
import { range } from '../../helpers/helper.ts'

const ROUNDS = 2_000
const STEPS = 200

/** The broker's side. RabbitMQ closes the channel for an unknown tag; this model throws. */
class Channel {
  readonly unacknowledged = new Set<number>()
  readonly acknowledged = new Set<number>()
  #next = 1

  deliver(): number {
    this.unacknowledged.add(this.#next)
    return this.#next++
  }

  ack(tag: number, { multiple }: { multiple: boolean }): void {
    const tags = multiple ? [...this.unacknowledged].filter(each => each <= tag) : [tag]
    this.nack(tag)
    for (const each of tags) {
      this.unacknowledged.delete(each)
      this.acknowledged.add(each)
    }
  }

  nack(tag: number): void {
    if (!this.unacknowledged.delete(tag)) throw new Error(`PRECONDITION_FAILED - unknown delivery tag ${tag}`)
  }
}

/** A consumer that takes random steps. */
class Model {
  readonly channel = new Channel()
  readonly tags = new DeliveryTags()
  readonly open = new Set<number>()
  readonly #settled = new Set<number>()
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  step(): void {
    const step = this.#random.pick([
      this.#deliver,
      this.#deliver,
      this.#settle,
      this.#settle,
      this.#reject,
      this.#settleAgain,
      this.#takePrefix,
      this.#takeRest,
    ])
    step.call(this)
  }

  /** @throws Error if the tags and the model differ */
  check(): void {
    const { channel, tags, open } = this
    if (tags.unacknowledged !== channel.unacknowledged.size)
      throw new Error(`${tags.unacknowledged} unacknowledged, not ${channel.unacknowledged.size}`)
    if ([...open].some(tag => channel.acknowledged.has(tag))) throw new Error('An open tag is acknowledged')
    const waiting = [...this.#settled].filter(tag => channel.unacknowledged.has(tag))
    if (tags.settled !== waiting.length) throw new Error(`${tags.settled} wait, not ${waiting.length}`)
  }

  #deliver(): void {
    const lost = this.#random.chance(0.05) ? this.#random.between(1, 3) : 0
    const missing = range(lost).map(() => this.channel.deliver())
    const tag = this.channel.deliver()
    const skipped = this.tags.delivered(tag)
    if (skipped.join() !== missing.join()) throw new Error(`${skipped} skipped, not ${missing}`)
    for (const each of skipped) this.channel.nack(each)
    this.open.add(tag)
  }

  #settle(): void {
    for (const tag of this.#some()) {
      if (!this.tags.settle(tag)) throw new Error(`${tag} was settled before`)
      this.open.delete(tag)
      this.#settled.add(tag)
    }
  }

  #reject(): void {
    const [tag] = this.#some()
    if (tag === undefined) return
    if (!this.tags.reject(tag)) throw new Error(`${tag} was settled before`)
    this.open.delete(tag)
    this.channel.nack(tag)
  }

  #settleAgain(): void {
    for (const tag of [...this.#settled, 0, 1_000_000])
      if (this.tags.settle(tag) || this.tags.reject(tag)) throw new Error(`${tag} is settled twice`)
  }

  #takePrefix(): void {
    const tag = this.tags.takePrefix()
    if (tag !== undefined) this.channel.ack(tag, { multiple: true })
    const lowest = Math.min(...this.channel.unacknowledged)
    if (this.#settled.has(lowest))
      throw new Error(`${lowest} is the lowest tag and settled, but was not acknowledged`)
  }

  #takeRest(): void {
    this.#takePrefix()
    for (const tag of this.tags.takeRest()) this.channel.ack(tag, { multiple: false })
  }

  /** One random open tag, or the lowest few. */
  #some(): number[] {
    const open = [...this.open]
    if (open.length === 0) return []
    return this.#random.chance(0.5) ? [this.#random.pick(open)] : open.slice(0, this.#random.between(1, 5))
  }
}

test('tags settled in any order are each acknowledged once, and no open tag is', t => {
  for (const round of range(ROUNDS)) {
    const model = new Model(new Random(`delivery tags ${round}`))
    try {
      for (const _ of range(STEPS)) {
        model.step()
        model.check()
      }
    } catch (cause) {
      throw new Error(`Round ${round}`, { cause })
    }
  }
  t.pass(`${ROUNDS} rounds of ${STEPS} steps`)
  t.end()
})

test('settled tags without a gap need one acknowledgement', t => {
  const tags = new DeliveryTags()
  for (const tag of [1, 2, 3, 4, 5]) tags.delivered(tag)
  for (const tag of [3, 1, 2]) tags.settle(tag)
  t.equal(tags.takePrefix(), 3)
  t.equal(tags.takePrefix(), undefined)
  tags.settle(5)
  t.equal(tags.takePrefix(), undefined)
  t.same(tags.takeRest(), [5])
  tags.settle(4)
  t.equal(tags.takePrefix(), 4, 'not 5, which is acknowledged already')
  t.equal(tags.unacknowledged, 0)
  t.end()
})
