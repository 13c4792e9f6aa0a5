/** Where the log and its parts lie below an archive's prefix. Numbers have leading zeros, so that keys are in their order. */

const RECORD_DIGITS = 16
const MANIFEST_DIGITS = 10

export interface LogKeys {
  /** Below which all of frequency's own things are: no reader of events looks there. */
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

/** @param prefix of the archive, without a slash at its end */
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

/** The number of a record's key, or undefined where it is none. */
export function recordNumber(keys: LogKeys, key: string): number | undefined {
  const digits = key.slice(keys.records.length)
  return key.startsWith(keys.records) && /^\d{16}$/.test(digits) ? Number(digits) : undefined
}
