/** The keys of the log below an archive's prefix. Numbers have leading zeros, so that a listing is in their order. */

const RECORD_DIGITS = 16
const MANIFEST_DIGITS = 10

export interface LogKeys {
  /** The prefix of everything that is not an archived object. Readers of events skip it. */
  readonly own: string
  readonly head: string
  readonly waiting: string
  readonly records: string
  readonly manifests: string
  readonly runs: string
  readonly staged: string
  record(number: number): string
  manifest(generation: number): string
  stagedObject(nonce: string): string
}

/** @param prefix of the archive, without a trailing slash */
export function logKeys(prefix: string): LogKeys {
  const own = `${prefix}/_frequency/`
  return {
    own,
    head: `${own}head`,
    waiting: `${own}waiting`,
    records: `${own}log/`,
    manifests: `${own}manifests/`,
    runs: `${own}runs/`,
    staged: `${own}staged/`,
    record: number => `${own}log/${String(number).padStart(RECORD_DIGITS, '0')}`,
    manifest: generation => `${own}manifests/${String(generation).padStart(MANIFEST_DIGITS, '0')}`,
    stagedObject: nonce => `${own}staged/${nonce}`,
  }
}

/** The number in the key of a record; undefined for any other key. */
export function recordNumber(keys: LogKeys, key: string): number | undefined {
  const digits = key.slice(keys.records.length)
  return key.startsWith(keys.records) && /^\d{16}$/.test(digits) ? Number(digits) : undefined
}
