/** Helpers for tests of an archive and its log: archives made by hand, running archivers, and damage. */
import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import * as zlib from 'node:zlib'
import type { Test } from 'tap'
import type { Archiver } from '../../src/archive/archiver.ts'
import { type BuiltLog, LogBuilder } from '../../src/cli/log/build-log.ts'
import { Verifier, type VerifyFindings, type VerifyOptions } from '../../src/cli/verify/verifier.ts'
import type { Config } from '../../src/config/config.ts'
import type { Event } from '../../src/event/event.ts'
import { type LogKeys, logKeys } from '../../src/log/log-keys.ts'
import { LogReader } from '../../src/log/log-reader.ts'
import { framingOf } from '../../src/object/format.ts'
import { objectKey } from '../../src/object/object-key.ts'
import { openQueue } from '../../src/queue/open-queue.ts'
import type { Queue } from '../../src/queue/queue.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import type { S3Server } from '../services/s3-server.ts'
import { until } from '../services/wait.ts'
import { openArchiver } from './archiver-helper.ts'
import { configOf, silent, temporaryDirectory } from './helper.ts'
import { startServer } from './s3-helper.ts'
import { objectKeysOf } from './store-helper.ts'

const WAIT_MS_MAX = 60_000
const AT = '2026-11-24T13:05:07.123Z'

export type StoreKind = 'directory' | 's3'

export const STORE_KINDS: readonly StoreKind[] = ['directory', 's3']

export interface TestArchive {
  readonly store: ObjectStore
  readonly prefix: string
  readonly keys: LogKeys
  readonly reader: LogReader
  /** Settings with which the program uses this archive. */
  readonly settings: Record<string, string>
  /** Undefined for a directory, and for a server that is not in this process. */
  readonly server?: S3Server | undefined
}

export async function openArchive(t: Test, kind: StoreKind): Promise<TestArchive> {
  const server = kind === 's3' ? await startServer(t) : undefined
  const settings: Record<string, string> =
    kind === 's3'
      ? { ARCHIVE_URL: 's3://bucket/p', S3_FORCE_PATH_STYLE: 'true' }
      : { ARCHIVE_URL: temporaryDirectory(t) }
  const config = configOf(settings)
  const store = await openStore(config)
  t.teardown(() => store.close())
  const { prefix } = config.archive
  const keys = logKeys(prefix)
  return { store, prefix, keys, reader: new LogReader(store, keys), settings, server }
}

/** Returns one archived event as JSON. */
export function archivedEvent(fields: Record<string, unknown> = {}): string {
  return JSON.stringify({ event: 'counted', messageId: randomUUID(), ...fields, receivedAt: AT })
}

export function archivedEvents(count: number): string[] {
  return Array.from({ length: count }, () => archivedEvent())
}

/** Returns the bytes of an object as an archiver writes it. */
export function objectOf(events: readonly string[], extension = '.ndjson.gz'): Buffer {
  const { before, between, after } = framingOf(extension.startsWith('.json') ? 'json' : 'ndjson')
  const bytes = Buffer.concat([before, Buffer.from(events.join(between.toString())), after])
  return extension.endsWith('.gz') ? zlib.gzipSync(bytes) : bytes
}

/** Stores an object without the log, and resolves to its key. */
export async function putObject(
  { store, prefix }: TestArchive,
  bytes: Buffer,
  extension = '.ndjson.gz',
  at = AT,
): Promise<string> {
  const key = objectKey(prefix, new Date(at), randomUUID(), extension)
  await store.put(key, Readable.from([bytes], { objectMode: false }))
  return key
}

export function build(
  { prefix }: TestArchive,
  store: ObjectStore,
  limits = { recordEventsMax: 100, recordObjectsMax: 2 },
): Promise<BuiltLog> {
  return new LogBuilder(store, { prefix, listMax: 20, limits }).run()
}

export function verified(
  { prefix }: TestArchive,
  store: ObjectStore,
  options: Partial<VerifyOptions> = {},
): Promise<VerifyFindings> {
  return new Verifier(store, { prefix, listMax: 20, ...options }).run()
}

export async function bytesOf(store: ObjectStore, key: string): Promise<Buffer> {
  const { object } = await store.read(key)
  if (object === undefined) throw new Error(`${key} is not there`)
  return object.body
}

/** Replaces the bytes of an object. */
export async function damage(
  store: ObjectStore,
  key: string,
  change: (bytes: Buffer) => Buffer,
): Promise<void> {
  await store.replace(key, change(Buffer.from(await bytesOf(store, key))))
}

/** Inverts the bits of one byte. @param at offset of the byte; a negative one counts from the end */
export function flipped(at: number): (bytes: Buffer) => Buffer {
  return bytes => {
    const index = at < 0 ? bytes.length + at : at
    bytes[index] = (bytes[index] as number) ^ 0xff
    return bytes
  }
}

/** Returns the store with some of its methods replaced. */
export function storeWith(store: ObjectStore, own: Partial<ObjectStore>): ObjectStore {
  return new Proxy(store, {
    get: (target, name: keyof ObjectStore) => {
      const value = own[name] ?? target[name]
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

export class TestArchiver {
  readonly archiver: Archiver
  readonly #queue: Queue
  readonly #store: ObjectStore

  constructor(archiver: Archiver, queue: Queue, store: ObjectStore) {
    this.archiver = archiver
    this.#queue = queue
    this.#store = store
  }

  publish(events: readonly Event[]): Promise<unknown> {
    return Promise.all(events.map(event => this.#queue.publish(event)))
  }

  /** Resolves when the queue is empty and the archive has at least this number of objects. */
  async holds(objects: number): Promise<void> {
    await until(`${objects} objects are there`, WAIT_MS_MAX, async () => {
      if ((await this.#queue.depth()) > 0) return false
      return (await objectKeysOf(this.#store)).length >= objects
    })
  }

  /** Resolves when the archiver reports that it cannot archive, with this reason. */
  async isStopped(reason: RegExp): Promise<void> {
    await until(`it stops: ${reason}`, WAIT_MS_MAX, () => reason.test(this.archiver.trouble ?? ''))
  }
}

/** Starts an archiver with a new embedded queue and a new index. It archives ten events an object. */
export async function startArchiver(
  t: Test,
  { settings }: Pick<TestArchive, 'settings'>,
): Promise<TestArchiver> {
  const config: Config = configOf({
    ...settings,
    DATA_DIR: temporaryDirectory(t),
    BATCH_EVENTS_MAX: '10',
    BATCH_AGE_MS_MAX: '3600000',
  })
  const queue = await openQueue(config, silent)
  t.teardown(() => queue.close())
  const { archiver, store } = await openArchiver(t, config, queue)
  await archiver.start()
  return new TestArchiver(archiver, queue, store)
}
