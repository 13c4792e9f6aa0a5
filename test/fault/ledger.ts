/**
 * What was sent, and what was answered. An event is known by its ordinal, which is in its body, so that
 * one whose id the server made is counted like one that brought its own.
 */
const SENT = 1
const ACKNOWLEDGED = 2
const OWN_ID = 4

export class Ledger {
  readonly #run: string
  #flags = new Uint8Array(1 << 16)
  #size = 0
  acknowledged = 0
  acknowledgedByDisk = 0
  retried = 0
  repeated = 0
  refused = 0

  /** @param run goes into the ids: no two runs share one. */
  constructor(run: string) {
    this.#run = run
  }

  /** Events that were sent: their ordinals go from 0 up to, and without, this. */
  get size(): number {
    return this.#size
  }

  /** @returns its ordinal */
  add(hasOwnId: boolean): number {
    if (this.#size === this.#flags.length) {
      const flags = new Uint8Array(this.#flags.length * 2)
      flags.set(this.#flags)
      this.#flags = flags
    }
    this.#flags[this.#size] = SENT | (hasOwnId ? OWN_ID : 0)
    return this.#size++
  }

  acknowledge(ordinal: number, durability: string): void {
    if (this.isAcknowledged(ordinal)) return
    this.#flags[ordinal] = (this.#flags[ordinal] as number) | ACKNOWLEDGED
    this.acknowledged++
    if (durability === 'disk') this.acknowledgedByDisk++
  }

  isAcknowledged(ordinal: number): boolean {
    return ((this.#flags[ordinal] ?? 0) & ACKNOWLEDGED) !== 0
  }

  /** The id that the event brought, or undefined where the server makes it. */
  idOf(ordinal: number): string | undefined {
    return ((this.#flags[ordinal] ?? 0) & OWN_ID) === 0 ? undefined : `${this.#run}-${ordinal}`
  }
}
