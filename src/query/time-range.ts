import { ConfigInvalid } from '../errors.ts'

const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const
const YEAR_1_MS = Date.parse('0001-01-01T00:00:00Z')
const AGO = /^(\d{1,9})\s*([smhdw])$/
const DATE = /^\d{4}-\d{2}-\d{2}$/
const TIME = /^\d{4}-\d{2}-\d{2}[T ]\d{2}(?::\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?(?:Z|[+-]\d{2}:?\d{2})?$/i

/**
 * A moment as people write it: `24h` (so long ago), `2026-11-24` (its first moment, UTC) or `2026-11-24T13:05`, UTC
 * unless it has an offset.
 *
 * @returns milliseconds since 1970
 * @throws ConfigInvalid that names the option
 */
export function parseMoment(option: string, text: string, nowMs: number): number {
  const [, count, unit] = AGO.exec(text) ?? []
  const agoMs = Number(count) * UNITS[unit as keyof typeof UNITS]
  const ms =
    count !== undefined
      ? nowMs - agoMs
      : DATE.test(text) || TIME.test(text)
        ? Date.parse(completed(text))
        : Number.NaN
  if (ms >= YEAR_1_MS) return ms
  throw new ConfigInvalid(
    `${option} must be a time ago (30m, 24h, 7d), a date (2026-11-24) or a time (2026-11-24T13:05Z), not ${JSON.stringify(text.slice(0, 100))}.`,
  )
}

/** As `Date.parse` wants it. */
function completed(text: string): string {
  if (DATE.test(text)) return `${text}T00:00:00Z`
  const [, day, hours, rest = '', zone = 'Z'] =
    /^(\d{4}-\d{2}-\d{2})[T ](\d{2})((?::\d{2}){0,2}(?:\.\d+)?)(Z|[+-]\d{2}:?\d{2})?$/i.exec(text) ?? []
  const offset = zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone.toUpperCase()
  return `${day}T${hours}${rest === '' ? ':00' : rest}${offset}`
}
