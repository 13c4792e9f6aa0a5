/**
 * The ledger of sent events and their answers. An event is identified by its ordinal, which is in its body. So
 * events whose id the server made are counted like events with their own id.
 */
import { createHash } from 'node:crypto'

const SENT = 1
const ACKNOWLEDGED = 2
const TEXT_ID = 4
const UUID_ID = 8
/** The event has the id of the previous ordinal, which another source has sent. */
const SHARED_ID = 16
const SOURCE_SHIFT = 5

/** The sources, with their write keys. */
export const SOURCES = [
  { name: 'web', keys: ['web-key-1', 'web-key-2'] },
  { name: 'backend', keys: ['backend-key-1', 'backend-key-2'] },
] as const
export type SourceIndex = 0 | 1

/** The id of an event: none (the server makes one), a short text, or a random UUID. */
export type IdKind = 'none' | 'text' | 'uuid'

const ID_FLAGS: Record<IdKind, number> = { none: 0, text: TEXT_ID, uuid: UUID_ID }

export class Ledger {
  readonly #run: string
  #flags = new Uint8Array(1 << 16)
  #size = 0
  readonly #junk: boolean[] = []
  acknowledged = 0
  acknowledgedByDisk = 0
  retried = 0
  repeated = 0
  refused = 0
  foreign = 0
  /** Pairs of events of two sources with one id. */
  idPairs = 0
  /** Answers with status 200 that refused some event. */
  readonly complaints: string[] = []

  /** @param run part of all ids, so that two runs never share an id */
  constructor(run: string) {
    this.#run = run
  }

  /** Number of sent events. Their ordinals are 0 to size − 1. */
  get size(): number {
    return this.#size
  }

  /**
   * Adds an event.
   *
   * @param source undefined if another program publishes it
   * @returns its ordinal
   */
  add(id: IdKind, source: SourceIndex | undefined): number {
    if (source === undefined) this.foreign++
    return this.#add(ID_FLAGS[id] | sourceFlag(source))
  }

  /** Adds two events of two sources with one id. @returns their ordinals, by source */
  addIdPair(id: 'text' | 'uuid'): [number, number] {
    this.idPairs++
    return [this.add(id, 0), this.#add(SHARED_ID | sourceFlag(1))]
  }

  acknowledge(ordinal: number, durability: string): void {
    if (this.isAcknowledged(ordinal)) return
    this.#flags[ordinal] = this.#flagsOf(ordinal) | ACKNOWLEDGED
    this.acknowledged++
    if (durability === 'disk') this.acknowledgedByDisk++
  }

  isAcknowledged(ordinal: number): boolean {
    return (this.#flagsOf(ordinal) & ACKNOWLEDGED) !== 0
  }

  /** The id that the event was sent with; undefined if the server makes it. */
  idOf(ordinal: number): string | undefined {
    const flags = this.#flagsOf(ordinal)
    if ((flags & SHARED_ID) !== 0) return this.idOf(ordinal - 1)
    if ((flags & UUID_ID) !== 0) return uuidOf(`${this.#run} ${ordinal}`)
    return (flags & TEXT_ID) === 0 ? undefined : `${this.#run}-${ordinal}`
  }

  /** The name of its source; undefined if another program published it. */
  sourceOf(ordinal: number): string | undefined {
    return SOURCES[(this.#flagsOf(ordinal) >> SOURCE_SHIFT) - 1]?.name
  }

  /** Adds a message that is not JSON. @returns its text */
  addJunk(): string {
    this.#junk.push(false)
    return `no JSON, ${this.#run}, ${this.#junk.length - 1}`
  }

  acknowledgeJunk(text: string): void {
    this.#junk[numberIn(text)] = true
  }

  /** Compares the dead letters with the messages that are not JSON. @returns findings */
  judgeDeadLetters(letters: readonly string[]): string[] {
    const expected = new Set(this.#junk.map((_, number) => `no JSON, ${this.#run}, ${number}`))
    const found = new Set(letters)
    return [
      ...[...found].filter(text => !expected.has(text)).map(text => `dead letter: ${text.slice(0, 200)}`),
      ...[...expected]
        .filter(text => this.#junk[numberIn(text)] && !found.has(text))
        .map(text => `missing among the dead letters: ${text}`),
    ]
  }

  get junk(): number {
    return this.#junk.length
  }

  #add(flags: number): number {
    if (this.#size === this.#flags.length) {
      const grown = new Uint8Array(this.#flags.length * 2)
      grown.set(this.#flags)
      this.#flags = grown
    }
    this.#flags[this.#size] = SENT | flags
    return this.#size++
  }

  #flagsOf(ordinal: number): number {
    return this.#flags[ordinal] ?? 0
  }
}

function sourceFlag(source: SourceIndex | undefined): number {
  return (source === undefined ? 0 : source + 1) << SOURCE_SHIFT
}

function numberIn(text: string): number {
  return Number(text.slice(text.lastIndexOf(' ')))
}

/** A UUID that depends only on the text, with version and variant of a random UUID (RFC 9562, section 5.4). */
function uuidOf(text: string): string {
  const bytes = createHash('sha256').update(text).digest()
  bytes[6] = 0x40 | ((bytes[6] as number) & 0x0f)
  bytes[8] = 0x80 | ((bytes[8] as number) & 0x3f)
  const hex = bytes.toString('hex', 0, 16)
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
