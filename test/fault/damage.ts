/** Damages stored objects, as a broken disk or an operator may do. */
import type { Random } from './random.ts'
import type { Listed, StoreClient } from './store-client.ts'

/** An object younger than this counts as new. */
const NEW_MS_MAX = 15_000

/** The newest object below a prefix that is not in `known`; undefined if it is older than 15 seconds. */
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

/**
 * Truncates an object, or overwrites its second half.
 *
 * @param partOf the length of the part whose second half is damaged, with all behind it. Default: the whole object
 * @returns the original bytes
 */
export async function damage(
  client: StoreClient,
  key: string,
  random: Random,
  partOf: (bytes: Buffer) => number = bytes => bytes.length,
): Promise<Buffer> {
  const bytes = await client.read(key)
  const middle = Math.floor(partOf(bytes) / 2)
  const damaged = random.chance(0.5) ? bytes.subarray(0, middle) : Buffer.from(bytes).fill(0xff, middle)
  await client.write(key, damaged)
  return bytes
}
