/** Reads the whole archive and holds it against the ledger. It shares no code with the program. */
import * as zlib from 'node:zlib'
import type { SentEvent } from './event-body.ts'
import type { Ledger } from './sent-events.ts'
import { OBJECTS_PREFIX, type StoreClient } from './store-client.ts'

const OBJECTS_AT_ONCE = 8
const LARGE_BYTES = 1024 * 1024
const PARTS_BYTES = 5 * 1024 * 1024

interface ArchivedEvent extends SentEvent {
  readonly messageId: string
  readonly source?: string
  readonly receivedAt: string
}

export interface Finding {
  readonly ordinal: number
  readonly messageId: string
  readonly source: string
  /** Where it is, and the server's stamps on it there. */
  readonly places: readonly string[]
}

export interface Verdict {
  /** How many there are with each ending. */
  readonly objects: ReadonlyMap<string, number>
  /** Objects above 1 MiB, as they are stored. */
  readonly largeObjects: number
  /** Objects above 5 MiB, which are uploaded in parts. */
  readonly partsObjects: number
  readonly bytes: number
  /** Different events. */
  readonly archived: number
  /** Of objects that were damaged: those that are in another object, too. */
  readonly archivedAgain: number
  readonly doubled: readonly Finding[]
  /**
   * Published by another program without an id, and archived more than once. Nothing tells a message that
   * is delivered again from another one, so this is no mistake.
   */
  readonly doubledWithoutId: number
  /** Acknowledged and not archived. */
  readonly missing: readonly Finding[]
  /** Archived, but never sent, or not as they were sent. */
  readonly strange: readonly string[]
  readonly unreadable: readonly string[]
}

/** @param damaged objects that were damaged, by their keys, as they were before: so they count */
export async function audit(
  client: StoreClient,
  ledger: Ledger,
  damaged: ReadonlyMap<string, Buffer>,
): Promise<Verdict> {
  return await new Audit(client, ledger, damaged).run()
}

class Audit {
  readonly #client: StoreClient
  readonly #ledger: Ledger
  readonly #damaged: ReadonlyMap<string, Buffer>
  /** For each ordinal the number, from 1, of the object that it was found in first. */
  readonly #firstPlace: Uint32Array
  #keys: string[] = []
  /** Of sources and ids, to ordinals. */
  readonly #identities = new Map<string, number>()
  readonly #doubled = new Map<number, string[]>()
  readonly #withoutId = new Set<number>()
  readonly #objects = new Map<string, number>()
  readonly #strange: string[] = []
  readonly #unreadable: string[] = []
  #largeObjects = 0
  #partsObjects = 0
  #bytes = 0
  #archived = 0
  #archivedAgain = 0

  constructor(client: StoreClient, ledger: Ledger, damaged: ReadonlyMap<string, Buffer>) {
    this.#client = client
    this.#ledger = ledger
    this.#damaged = damaged
    this.#firstPlace = new Uint32Array(ledger.size)
  }

  async run(): Promise<Verdict> {
    const listed = (await this.#client.list(OBJECTS_PREFIX)).map(({ key }) => key)
    const whole = listed.filter(key => !this.#damaged.has(key))
    this.#keys = [...whole, ...this.#damaged.keys()]
    let next = 0
    const readOn = async () => {
      while (next < whole.length) await this.#read(next++)
    }
    await Promise.all(Array.from({ length: OBJECTS_AT_ONCE }, readOn))
    for (let place = whole.length; place < this.#keys.length; place++) await this.#read(place)
    return {
      objects: this.#objects,
      largeObjects: this.#largeObjects,
      partsObjects: this.#partsObjects,
      bytes: this.#bytes,
      archived: this.#archived,
      archivedAgain: this.#archivedAgain,
      doubled: [...this.#doubled].map(([ordinal, places]) => this.#finding(ordinal, places)),
      doubledWithoutId: this.#withoutId.size,
      missing: this.#missing(),
      strange: this.#strange,
      unreadable: this.#unreadable,
    }
  }

  async #read(place: number): Promise<void> {
    const key = this.#keys[place] as string
    const stored = this.#damaged.get(key) ?? (await this.#client.read(key))
    this.#bytes += stored.length
    if (stored.length > LARGE_BYTES) this.#largeObjects++
    if (stored.length > PARTS_BYTES) this.#partsObjects++
    const ending = key.slice(key.indexOf('.', key.lastIndexOf('/')))
    this.#objects.set(ending, (this.#objects.get(ending) ?? 0) + 1)
    try {
      for (const event of eventsOf(ending, stored)) this.#count(event, place)
    } catch (error) {
      this.#unreadable.push(`${key}: ${(error as Error).message}`)
    }
  }

  #count(event: ArchivedEvent, place: number): void {
    const { ordinal } = event.properties
    if (!this.#isAsSent(event)) {
      this.#strange.push(`${this.#keys[place]}: ${event.messageId}`)
      return
    }
    const identity = `${event.source ?? ''} ${event.messageId}`
    const isKnown = this.#firstPlace[ordinal] !== 0 || this.#identities.has(identity)
    if (!isKnown) this.#archived++
    else if (this.#damaged.has(this.#keys[place] as string)) this.#archivedAgain++
    else this.#addDouble(event, place)
    this.#firstPlace[ordinal] ||= place + 1
    this.#identities.set(identity, ordinal)
  }

  #isAsSent({ messageId, source, properties: { ordinal, bytes, noise } }: ArchivedEvent): boolean {
    const ownId = this.#ledger.idOf(ordinal)
    const isKnown = ordinal < this.#ledger.size && source === this.#ledger.sourceOf(ordinal)
    return isKnown && noise.length === bytes && (ownId === undefined || ownId === messageId)
  }

  #addDouble({ messageId, receivedAt, properties: { ordinal } }: ArchivedEvent, place: number): void {
    if (this.#ledger.idOf(ordinal) === undefined && this.#ledger.sourceOf(ordinal) === undefined) {
      this.#withoutId.add(ordinal)
      return
    }
    const first = this.#keys[(this.#firstPlace[ordinal] as number) - 1] ?? 'under another ordinal'
    const places = this.#doubled.get(ordinal) ?? [first]
    places.push(`${this.#keys[place]} (${messageId}, received ${receivedAt})`)
    this.#doubled.set(ordinal, places)
  }

  #finding(ordinal: number, places: readonly string[]): Finding {
    const messageId = this.#ledger.idOf(ordinal) ?? '(made by the server)'
    return { ordinal, messageId, source: this.#ledger.sourceOf(ordinal) ?? 'another program', places }
  }

  #missing(): Finding[] {
    const missing: Finding[] = []
    for (let ordinal = 0; ordinal < this.#ledger.size; ordinal++) {
      if (this.#firstPlace[ordinal] === 0 && this.#ledger.isAcknowledged(ordinal))
        missing.push(this.#finding(ordinal, []))
    }
    return missing
  }
}

/** @throws Error where it is not what its ending says */
function eventsOf(ending: string, stored: Buffer): ArchivedEvent[] {
  const [, format, compression] = /^\.(ndjson|json)(?:\.(gz|zst))?$/.exec(ending) ?? []
  if (format === undefined) throw new Error('its ending is unknown')
  const text = unpacked(compression, stored).toString()
  if (format === 'json') return JSON.parse(text)
  if (!text.endsWith('\n')) throw new Error('its last line does not end')
  return text
    .slice(0, -1)
    .split('\n')
    .map(line => JSON.parse(line))
}

function unpacked(compression: string | undefined, stored: Buffer): Buffer {
  if (compression === 'gz') return zlib.gunzipSync(stored)
  if (compression === undefined) return stored
  // Since Node 22.15; before that nobody writes it.
  const { zstdDecompressSync } = zlib as { zstdDecompressSync?: (bytes: Buffer) => Buffer }
  if (zstdDecompressSync === undefined) throw new Error('this Node cannot read zstd')
  return zstdDecompressSync(stored)
}
