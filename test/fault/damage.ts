/** Damages what lies in the store, as a disk or an operator does. */
import type { Random } from './random.ts'
import type { Listed, StoreClient } from './store-client.ts'

/** What was written within so long was just written. */
const NEW_MS_MAX = 15_000

/** Below a prefix, what was written last and is not in `known`; undefined where that is long ago. */
export async function newestObject(
  client: StoreClient,
  prefix: string,
  known: ReadonlyMap<string, Buffer>,
): Promise<Listed | undefined> {
  const listed = (await client.list(prefix)).filter(({ key }) => !known.has(key))
  const newest = listed.reduce<Listed | undefined>(
    (best, each) => (best === undefined || each.modifiedAt >= best.modifiedAt ? each : best),
    undefined,
  )
  return newest === undefined || newest.modifiedAt < Date.now() - NEW_MS_MAX ? undefined : newest
}

/** Cuts an object short, or overwrites what is in its middle. @returns what it was before */
export async function damage(client: StoreClient, key: string, random: Random): Promise<Buffer> {
  const bytes = await client.read(key)
  const middle = Math.floor(bytes.length / 2)
  const damaged = random.chance(0.5) ? bytes.subarray(0, middle) : Buffer.from(bytes).fill(0xff, middle)
  await client.write(key, damaged)
  return bytes
}
