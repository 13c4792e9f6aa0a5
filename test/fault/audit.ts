/** Reads the whole archive and holds it against the ledger. It shares no code with the program. */
import { buffer } from 'node:stream/consumers'
import { gunzipSync } from 'node:zlib'
import { GetObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3'
import type { Radosgw } from '../services/radosgw.ts'
import type { Ledger } from './ledger.ts'
import { BUCKET, PREFIX } from './stage.ts'

const OBJECTS_AT_ONCE = 8

interface ArchivedEvent {
  readonly messageId: string
  readonly receivedAt: string
  readonly properties: { readonly ordinal: number; readonly bytes: number; readonly noise: string }
}

export interface Finding {
  readonly ordinal: number
  readonly messageId: string
  /** Where it is, and the server's stamps on it there. */
  readonly places: readonly string[]
}

export interface Verdict {
  readonly objects: number
  /** Objects above the size from which they are uploaded in parts. */
  readonly largeObjects: number
  readonly bytes: number
  /** Different events. */
  readonly archived: number
  readonly doubled: readonly Finding[]
  /** Acknowledged and not archived. */
  readonly missing: readonly Finding[]
  /** Archived, but never sent, or not as they were sent. */
  readonly strange: readonly string[]
  readonly unreadable: readonly string[]
}

const LARGE_BYTES = 5 * 1024 * 1024

export async function audit(store: Radosgw, ledger: Ledger): Promise<Verdict> {
  const client = clientOf(store)
  try {
    return await new Audit(client, ledger).run()
  } finally {
    client.destroy()
  }
}

class Audit {
  readonly #client: S3Client
  readonly #ledger: Ledger
  /** For each ordinal the number, from 1, of the object that it was found in first. */
  readonly #firstPlace: Uint32Array
  readonly #keys: string[] = []
  readonly #ids = new Map<string, number>()
  readonly #doubled = new Map<number, { messageId: string; places: string[] }>()
  readonly #strange: string[] = []
  readonly #unreadable: string[] = []
  #largeObjects = 0
  #bytes = 0
  #archived = 0

  constructor(client: S3Client, ledger: Ledger) {
    this.#client = client
    this.#ledger = ledger
    this.#firstPlace = new Uint32Array(ledger.size)
  }

  async run(): Promise<Verdict> {
    for await (const key of this.#list()) this.#keys.push(key)
    let next = 0
    const readOn = async () => {
      while (next < this.#keys.length) await this.#read(next++)
    }
    await Promise.all(Array.from({ length: OBJECTS_AT_ONCE }, readOn))
    return {
      objects: this.#keys.length,
      largeObjects: this.#largeObjects,
      bytes: this.#bytes,
      archived: this.#archived,
      doubled: [...this.#doubled].map(([ordinal, each]) => ({ ordinal, ...each })),
      missing: this.#missing(),
      strange: this.#strange,
      unreadable: this.#unreadable,
    }
  }

  async *#list(): AsyncIterable<string> {
    let ContinuationToken: string | undefined
    do {
      const page = await this.#client.send(
        new ListObjectsV2Command({ Bucket: BUCKET, Prefix: `${PREFIX}/dt=`, ContinuationToken }),
      )
      for (const { Key } of page.Contents ?? []) if (Key !== undefined) yield Key
      ContinuationToken = page.NextContinuationToken
    } while (ContinuationToken !== undefined)
  }

  async #read(place: number): Promise<void> {
    const key = this.#keys[place] as string
    const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }))
    const stored = await buffer(Body as AsyncIterable<Buffer>)
    this.#bytes += stored.length
    if (stored.length > LARGE_BYTES) this.#largeObjects++
    try {
      const text = (key.endsWith('.gz') ? gunzipSync(stored) : stored).toString()
      if (!text.endsWith('\n')) throw new Error('its last line does not end')
      for (const line of text.slice(0, -1).split('\n')) this.#count(JSON.parse(line), place)
    } catch (error) {
      this.#unreadable.push(`${key}: ${(error as Error).message}`)
    }
  }

  #count(event: ArchivedEvent, place: number): void {
    const { ordinal, bytes, noise } = event.properties
    const ownId = this.#ledger.idOf(ordinal)
    const isAsSent = noise.length === bytes && (ownId === undefined || ownId === event.messageId)
    if (!(ordinal < this.#ledger.size) || !isAsSent) {
      this.#strange.push(`${this.#keys[place]}: ${event.messageId}`)
      return
    }
    const sameId = this.#ids.get(event.messageId)
    if (this.#firstPlace[ordinal] !== 0 || sameId !== undefined) this.#addDouble(event, place)
    else this.#archived++
    this.#firstPlace[ordinal] ||= place + 1
    this.#ids.set(event.messageId, ordinal)
  }

  #addDouble({ messageId, receivedAt, properties: { ordinal } }: ArchivedEvent, place: number): void {
    const first = this.#keys[(this.#firstPlace[ordinal] as number) - 1] ?? 'under another ordinal'
    const known = this.#doubled.get(ordinal) ?? { messageId, places: [first] }
    known.places.push(`${this.#keys[place]} (${messageId}, received ${receivedAt})`)
    this.#doubled.set(ordinal, known)
  }

  #missing(): Finding[] {
    const missing: Finding[] = []
    for (let ordinal = 0; ordinal < this.#ledger.size; ordinal++) {
      if (this.#firstPlace[ordinal] === 0 && this.#ledger.isAcknowledged(ordinal))
        missing.push({ ordinal, messageId: this.#ledger.idOf(ordinal) ?? '(made by the server)', places: [] })
    }
    return missing
  }
}

function clientOf({ endpoint, region, accessKeyId, secretAccessKey }: Radosgw): S3Client {
  return new S3Client({
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    maxAttempts: 5,
  })
}
