import qs from 'qs'
import { BodyInvalid } from './errors.ts'

const FIELDS_MAX = 1000
const DEPTH_MAX = 20

/**
 * Parses `application/x-www-form-urlencoded` (WHATWG URL, section 5): every value is a string, a
 * repeated name makes an array, and brackets nest: `properties[plan]=pro`.
 *
 * @throws BodyInvalid for a name that would poison a prototype, more than 1,000 fields, or brackets
 * nested deeper than 20.
 */
export function parseForm(text: string): Record<string, unknown> {
  refusePoison(text)
  try {
    return qs.parse(text, {
      depth: DEPTH_MAX,
      strictDepth: true,
      parameterLimit: FIELDS_MAX,
      arrayLimit: FIELDS_MAX,
      throwOnLimitExceeded: true,
      allowPrototypes: true,
    })
  } catch (cause) {
    throw new BodyInvalid(`The form has more than ${FIELDS_MAX} fields, or nests deeper than ${DEPTH_MAX}.`, {
      cause,
    })
  }
}

/** qs drops such names silently; a sender should hear of it, as one who sends JSON does. */
function refusePoison(text: string): void {
  for (const name of new URLSearchParams(text).keys()) {
    const path = name.split(/[[\]]+/)
    if (path.includes('__proto__') || /\bconstructor[[\]]+prototype\b/.test(name)) {
      throw new BodyInvalid(`The field name ${JSON.stringify(name)} is not allowed.`)
    }
  }
}
