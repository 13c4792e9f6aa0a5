const NONCE_DIGITS = 16
const OBJECT_KEY =
  /\/dt=\d{4}-\d{2}-\d{2}\/hour=\d{2}\/batch_\d{8}T\d{9}Z_[0-9a-f]+\.(?:ndjson|json)(?:\.gz|\.zst)?$/

/**
 * The key of an archived object: `<prefix>/dt=2026-11-24/hour=13/batch_20261124T130507123Z_3f9c….ndjson.gz`. The
 * partitions are in UTC, in the form that Hive, Athena, Spark and DuckDB read.
 *
 * @param receivedAt of the batch's first event
 * @param nonce a UUID that no other object has
 * @param extension with its dot
 */
export function objectKey(prefix: string, receivedAt: Date, nonce: string, extension: string): string {
  const iso = receivedAt.toISOString()
  const stamp = iso.replace(/[-:.]/g, '')
  const digits = nonce.replaceAll('-', '').slice(-NONCE_DIGITS)
  return `${prefix}/dt=${iso.slice(0, 10)}/hour=${iso.slice(11, 13)}/batch_${stamp}_${digits}${extension}`
}

/** Whether `objectKey` made the key. A bucket may have other objects. */
export function isObjectKey(key: string): boolean {
  return OBJECT_KEY.test(`/${key}`)
}

const DAY_MS = 24 * 60 * 60 * 1000
/** For more days than this, one listing of the whole archive is used. */
const DAYS_MAX = 400

/**
 * The prefixes to list for all batches whose first event was received between two times: one prefix for each day, or the
 * prefix of the archive for more than 400 days.
 */
export function dayPrefixes(prefix: string, from: Date, to: Date): string[] {
  if (to.getTime() - from.getTime() > DAYS_MAX * DAY_MS) return [`${prefix}/`]
  const days: string[] = []
  const day = new Date(from)
  day.setUTCHours(0, 0, 0, 0)
  for (; day <= to; day.setUTCDate(day.getUTCDate() + 1))
    days.push(`${prefix}/dt=${day.toISOString().slice(0, 10)}/`)
  return days
}
