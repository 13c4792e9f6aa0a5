import { randomBytes } from 'node:crypto'

/**
 * `<prefix>/dt=2026-11-24/hour=13/batch_20261124T130507123Z_<random>.ndjson.gz`: partitions as Hive,
 * Athena, Spark and DuckDB read them, in UTC, by the time of the batch's first event.
 *
 * @param extension with its dot
 */
export function objectKey(prefix: string, openedAt: Date, extension: string): string {
  const iso = openedAt.toISOString()
  const stamp = iso.replace(/[-:.]/g, '')
  const random = randomBytes(6).toString('hex')
  return `${prefix}/dt=${iso.slice(0, 10)}/hour=${iso.slice(11, 13)}/batch_${stamp}_${random}${extension}`
}
