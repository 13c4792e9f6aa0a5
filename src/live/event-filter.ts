import { FilterInvalid } from '../errors.ts'
import { eventName } from '../event/event-name.ts'

/** Selects the events that a viewer sees. */
export interface EventFilter {
  /** Bytes that are in the JSON of each matching event, to skip others without parsing; undefined if none are known. */
  readonly needle: Buffer | undefined
  matches(fields: Record<string, unknown>): boolean
}

const FILTER_LENGTH_MAX = 500
/** No serialiser escapes these characters, so the text is in the JSON unchanged. */
const NEVER_ESCAPED = /^[\w .:@-]+$/

/**
 * Parses a filter. `signed_up` matches a part of the event's shown name, in any case. `user_id=42` matches a field with
 * exactly this value; `properties.plan=pro` a nested field.
 *
 * @returns undefined for an empty text
 * @throws FilterInvalid if the text is longer than 500 characters, or a part of the field's path is empty
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

/** Whether the text is a number: JSON may have it in another form (100, 1e2, 100.0). */
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
