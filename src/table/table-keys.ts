/** The keys of an archive's table, below the archive's prefix. */

const NUMBER_DIGITS = 16
export const HOUR_MS = 60 * 60 * 1000
/** The name that Hive gives to a partition of NULL. */
const NO_PARTITION = '__HIVE_DEFAULT_PARTITION__'

export interface TableKeys {
  /** The prefix of the table, for readers: `data/` and `metadata/` are below it. */
  readonly table: string
  /** Parquet files. A glob over it has each event once. */
  readonly data: string
  /** Files that stand for some of `data` in Iceberg, outside the glob. */
  readonly rewritten: string
  readonly metadata: string
  readonly entries: string
  readonly checkpoints: string
  readonly claims: string
  readonly staged: string
  entry(number: number): string
  checkpoint(number: number): string
  /** @param hour hours since 1970; null for events without a time @param name without extension */
  dataFile(hour: number | null, name: string): string
}

/** @param prefix of the archive, without a trailing slash */
export function tableKeys(prefix: string): TableKeys {
  const own = `${prefix}/_frequency/table/`
  const table = `${prefix}/table/`
  return {
    table,
    data: `${table}data/`,
    rewritten: `${table}rewritten/`,
    metadata: `${table}metadata/`,
    entries: `${own}log/`,
    checkpoints: `${own}checkpoints/`,
    claims: `${own}claims/`,
    staged: `${own}staged/`,
    entry: number => `${own}log/${padded(number)}`,
    checkpoint: number => `${own}checkpoints/${padded(number)}`,
    dataFile: (hour, name) => `${table}data/${partitionOf(hour)}/${name}.parquet`,
  }
}

/** `dt=2026-11-24/hour=13`, in UTC, as the raw objects have it. */
export function partitionOf(hour: number | null): string {
  if (hour === null) return `dt=${NO_PARTITION}/hour=${NO_PARTITION}`
  const iso = new Date(hour * HOUR_MS).toISOString()
  return `dt=${iso.slice(0, 10)}/hour=${iso.slice(11, 13)}`
}

/** Hours since 1970. @param ms milliseconds since 1970 */
export function hourOf(ms: number): number {
  return Math.floor(ms / HOUR_MS)
}

/** The number in the key of an entry or checkpoint; undefined for any other key. */
export function numberIn(prefix: string, key: string): number | undefined {
  const digits = key.slice(prefix.length)
  return key.startsWith(prefix) && /^\d{16}$/.test(digits) ? Number(digits) : undefined
}

function padded(number: number): string {
  return String(number).padStart(NUMBER_DIGITS, '0')
}
