import { FilterInvalid } from '../errors.ts'
import { eventName } from '../event/event-name.ts'

/** Which events somebody wants to see. */
export interface EventFilter {
  /** Bytes that stand in the JSON of every event that matches; undefined where none are known. */
  readonly needle: Buffer | undefined
  matches(fields: Record<string, unknown>): boolean
}

const FILTER_LENGTH_MAX = 500
/** What no serialiser writes as an escape, so that it stands in JSON as it is. */
const NEVER_ESCAPED = /^[\w .:@-]+$/

/**
 * `signed_up` is part of an event's name as it is shown, whatever its case; `user_id=42` is a field that is exactly that,
 * and `properties.plan=pro` one further in. Undefined for an empty text.
 *
 * @throws FilterInvalid which says what a filter looks like.
 */
export function parseFilter(text: string): EventFilter | undefined {
  const trimmed = text.trim()
  if (trimmed === '') return undefined
  if (trimmed.length > FILTER_LENGTH_MAX) throw new FilterInvalid()
  const at = trimmed.indexOf('=')
  if (at === -1) return nameFilter(trimmed)
  const path = trimmed.slice(0, at).trim().split('.')
  if (path.includes('')) throw new FilterInvalid()
  return fieldFilter(path, trimmed.slice(at + 1).trim())
}

function nameFilter(part: string): EventFilter {
  const lowerCase = part.toLowerCase()
  return {
    needle: undefined,
    matches: fields => eventName(fields).toLowerCase().includes(lowerCase),
  }
}

function fieldFilter(path: readonly string[], wanted: string): EventFilter {
  return {
    needle: NEVER_ESCAPED.test(wanted) && !isNumeric(wanted) ? Buffer.from(wanted) : undefined,
    matches: fields => {
      const value = valueAt(fields, path)
      return typeof value !== 'object' && value !== undefined
        ? String(value) === wanted
        : value === null && wanted === 'null'
    },
  }
}

/** A number may be written in several ways: 100, 1e2, 100.0. */
function isNumeric(text: string): boolean {
  return Number.isFinite(Number(text))
}

function valueAt(fields: Record<string, unknown>, path: readonly string[]): unknown {
  let value: unknown = fields
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}
