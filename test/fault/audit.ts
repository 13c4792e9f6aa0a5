/** Reads the whole archive, and compares it with the ledger. It shares no code with the program. */
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
  /** The objects that have the event, with its id and `receivedAt` there. */
  readonly places: readonly string[]
}

export interface Verdict {
  /** Number of objects by the suffix of their keys. */
  readonly objects: ReadonlyMap<string, number>
  /** Objects whose stored size is above 1 MiB. */
  readonly largeObjects: number
  /** Objects above 5 MiB, which are uploaded in parts. */
  readonly partsObjects: number
  readonly bytes: number
  /** Number of different events. */
  readonly archived: number
  /** Events of damaged objects that are also in another object. */
  readonly archivedAgain: number
  readonly duplicates: readonly Finding[]
  /**
   * Events that another program published without an id, and that are archived more than once. A redelivery of
   * such a message cannot be recognised, so these are not findings.
   */
  readonly duplicatesWithoutId: number
  /** Events that were acknowledged and are not archived. */
  readonly missing: readonly Finding[]
  /** Archived events that were never sent, or differ from the sent ones. */
  readonly unknown: readonly string[]
  readonly unreadable: readonly string[]
}

/** @param damaged the original bytes of damaged objects, by key. The events in them count as archived */
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
  /** By ordinal: the number, from 1, of the first object that has the event; 0 if none has. */
  readonly #firstPlace: Uint32Array
  #keys: string[] = []
  /** Ordinals by source and id. */
  readonly #identities = new Map<string, number>()
  readonly #duplicates = new Map<number, string[]>()
  readonly #withoutId = new Set<number>()
  readonly #objects = new Map<string, number>()
  readonly #unknown: string[] = []
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
    const intact = listed.filter(key => !this.#damaged.has(key))
    this.#keys = [...intact, ...this.#damaged.keys()]
    let next = 0
    const work = async () => {
      while (next < intact.length) await this.#read(next++)
    }
    await Promise.all(Array.from({ length: OBJECTS_AT_ONCE }, work))
    for (let place = intact.length; place < this.#keys.length; place++) await this.#read(place)
    return {
      objects: this.#objects,
      largeObjects: this.#largeObjects,
      partsObjects: this.#partsObjects,
      bytes: this.#bytes,
      archived: this.#archived,
      archivedAgain: this.#archivedAgain,
      duplicates: [...this.#duplicates].map(([ordinal, places]) => this.#finding(ordinal, places)),
      duplicatesWithoutId: this.#withoutId.size,
      missing: this.#missing(),
      unknown: this.#unknown,
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
      this.#unknown.push(`${this.#keys[place]}: ${event.messageId}`)
      return
    }
    const identity = `${event.source ?? ''} ${event.messageId}`
    const isKnown = this.#firstPlace[ordinal] !== 0 || this.#identities.has(identity)
    if (!isKnown) this.#archived++
    else if (this.#damaged.has(this.#keys[place] as string)) this.#archivedAgain++
    else this.#addDuplicate(event, place)
    this.#firstPlace[ordinal] ||= place + 1
    this.#identities.set(identity, ordinal)
  }

  #isAsSent({ messageId, source, properties: { ordinal, bytes, noise } }: ArchivedEvent): boolean {
    const ownId = this.#ledger.idOf(ordinal)
    const isKnown = ordinal < this.#ledger.size && source === this.#ledger.sourceOf(ordinal)
    return isKnown && noise.length === bytes && (ownId === undefined || ownId === messageId)
  }

  #addDuplicate({ messageId, receivedAt, properties: { ordinal } }: ArchivedEvent, place: number): void {
    if (this.#ledger.idOf(ordinal) === undefined && this.#ledger.sourceOf(ordinal) === undefined) {
      this.#withoutId.add(ordinal)
      return
    }
    const first = this.#keys[(this.#firstPlace[ordinal] as number) - 1] ?? 'under another ordinal'
    const places = this.#duplicates.get(ordinal) ?? [first]
    places.push(`${this.#keys[place]} (${messageId}, received ${receivedAt})`)
    this.#duplicates.set(ordinal, places)
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

/** @throws Error if the object does not have the format of its suffix */
function eventsOf(ending: string, stored: Buffer): ArchivedEvent[] {
  const [, format, compression] = /^\.(ndjson|json)(?:\.(gz|zst))?$/.exec(ending) ?? []
  if (format === undefined) throw new Error('the suffix is unknown')
  const text = decompressed(compression, stored).toString()
  if (format === 'json') return JSON.parse(text)
  if (!text.endsWith('\n')) throw new Error('the last line has no line feed')
  return text
    .slice(0, -1)
    .split('\n')
    .map(line => JSON.parse(line))
}

function decompressed(compression: string | undefined, stored: Buffer): Buffer {
  if (compression === 'gz') return zlib.gunzipSync(stored)
  if (compression === undefined) return stored
  // Node has zstd since 22.15. Older versions do not write it.
  const { zstdDecompressSync } = zlib as { zstdDecompressSync?: (bytes: Buffer) => Buffer }
  if (zstdDecompressSync === undefined) throw new Error('this Node cannot read zstd')
  return zstdDecompressSync(stored)
}
