/** Makes an archive of events like those of clients, with its log, without a server. */
import { randomUUID } from 'node:crypto'
import { promisify } from 'node:util'
import { gzip, type ZlibOptions } from 'node:zlib'
import { LogBuilder } from '../src/cli/log/build-log.ts'
import { GZIP_LEVEL } from '../src/object/format.ts'
import { objectKey } from '../src/object/object-key.ts'
import type { ObjectStore } from '../src/store/store.ts'
import { createRandom, type Random } from '../test/helpers/helper.ts'
import { sampleEvent } from './sample-events.ts'

const SEED = 7
const OBJECTS_AT_ONCE = 4

export interface MadeArchive {
  readonly events: number
  /** Of one object. */
  readonly batchEvents: number
  readonly hours: number
  /** Different `user_id`s. */
  readonly users: number
  /** Milliseconds since 1970. */
  readonly startMs: number
}

/** Fills an empty archive. Events are spread evenly over the hours. */
export async function makeArchive(store: ObjectStore, prefix: string, made: MadeArchive): Promise<void> {
  const { events, batchEvents, hours, users, startMs } = made
  const spanMs = hours * 3_600_000
  const pack = promisify<Buffer, ZlibOptions, Buffer>(gzip)
  const random = createRandom(SEED)
  const batches = Math.ceil(events / batchEvents)
  let next = 0
  const work = async (): Promise<void> => {
    for (let batch = next++; batch < batches; batch = next++) {
      const first = batch * batchEvents
      let text = ''
      for (let n = first; n < first + batchEvents; n++)
        text += `${eventOf(random, startMs + Math.floor((n / events) * spanMs), users)}\n`
      const at = new Date(startMs + Math.floor((first / events) * spanMs))
      await store.create(
        objectKey(prefix, at, randomUUID(), '.ndjson.gz'),
        await pack(Buffer.from(text), { level: GZIP_LEVEL }),
      )
    }
  }
  await Promise.all(Array.from({ length: OBJECTS_AT_ONCE }, work))
  await new LogBuilder(store, { prefix, listMax: 1 }).run()
}

/** About 250 bytes. Some users have many more events than others. */
function eventOf(random: Random, atMs: number, users: number): string {
  const { userId: _, timestamp: __, ...event } = sampleEvent(random)
  const user = Math.floor((random(1_000_000) / 1_000_000) ** 2 * users)
  const receivedAt = new Date(atMs).toISOString()
  return JSON.stringify({ ...event, user_id: `u_${user}`, messageId: randomUUID(), receivedAt })
}
