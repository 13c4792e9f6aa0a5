/** Helpers for tests of what expires. */
import { cpSync } from 'node:fs'
import type { Test } from 'tap'
import { Expirer, type ExpirerParts, type ExpiryReport } from '../../src/expire/expirer.ts'
import { readEvents } from '../../src/object/object-reader.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { objectOf, openArchive, putObject, type TestArchive } from './archive-by-hand.ts'
import { silent } from './helper.ts'

export const DAY_MS = 24 * 60 * 60 * 1000
/** The time of these tests: noon of day 0. */
export const NOW = Date.parse('2026-11-24T12:00:00.000Z')

export interface ExpireOptions extends Partial<ExpirerParts> {
  /** RETENTION and RAW_RETENTION. */
  readonly days?: number
  readonly rawDays?: number
}

export function expirer({ prefix, store }: TestArchive, { days, rawDays, ...parts }: ExpireOptions): Expirer {
  const ms = (count: number | undefined) => (count === undefined ? undefined : count * DAY_MS)
  return new Expirer({
    store,
    prefix,
    retention: { retentionMs: ms(days), rawRetentionMs: ms(rawDays), dedupeWindowMs: DAY_MS },
    log: silent,
    stopping: new AbortController().signal,
    publish: async () => {},
    now: () => NOW,
    ...parts,
  })
}

export function expired(archive: TestArchive, options: ExpireOptions): Promise<ExpiryReport> {
  return expirer(archive, options).run()
}

/** An event that was received on a day before or after `NOW`, at an hour. */
export function eventOn(day: number, hour: number, id: string): string {
  const receivedAt = new Date(NOW - DAY_MS / 2 + day * DAY_MS + hour * 3_600_000).toISOString()
  return JSON.stringify({ event: 'counted', messageId: id, receivedAt })
}

/** Stores an object of events; its key has the time of the first one that has a time. */
export function putEvents(archive: TestArchive, events: readonly string[]): Promise<string> {
  const times = events.flatMap(event => (JSON.parse(event) as { receivedAt?: string }).receivedAt ?? [])
  return putObject(archive, objectOf(events), '.ndjson.gz', times[0])
}

/** An archive of its own with the same content. */
export async function copied(t: Test, { settings }: TestArchive): Promise<TestArchive> {
  const copy = await openArchive(t, 'directory')
  cpSync(settings.ARCHIVE_URL as string, copy.settings.ARCHIVE_URL as string, { recursive: true })
  return copy
}

/** The ids in the objects, sorted. */
export async function rawIds({ prefix }: TestArchive, store: ObjectStore): Promise<string[]> {
  const ids: string[] = []
  for await (const key of store.list(`${prefix}/dt=`))
    for await (const line of readEvents(store, key)) ids.push(JSON.parse(line).messageId)
  return ids.sort()
}
