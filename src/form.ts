import { createRequire } from 'node:module'
import { BodyInvalid } from './errors.ts'

const require = createRequire(import.meta.url)
let qs: typeof import('qs') | undefined

const FIELDS_MAX = 1000
const DEPTH_MAX = 20

interface Nesting {
  readonly separators: RegExp
  readonly constructorPrototype: RegExp
}

const BRACKETS: Nesting = { separators: /[[\]]+/, constructorPrototype: /\bconstructor[[\]]+prototype\b/ }
const DOTS_AND_BRACKETS: Nesting = {
  separators: /[[\].]+/,
  constructorPrototype: /\bconstructor[[\].]+prototype\b/,
}

/**
 * Parses `application/x-www-form-urlencoded` (WHATWG URL, section 5): every value is a string, a
 * repeated name makes an array, and brackets nest: `properties[plan]=pro`.
 *
 * @throws BodyInvalid for a name that would poison a prototype, more than 1,000 fields, or brackets
 * nested deeper than 20.
 *
 * @param options.allowDots whether dots nest as well: `properties.plan=pro`. Default: false
 */
export function parseForm(
  text: string,
  { allowDots = false }: { allowDots?: boolean } = {},
): Record<string, unknown> {
  refusePoison(text, allowDots ? DOTS_AND_BRACKETS : BRACKETS)
  // Only here, so that a start does without.
  qs ??= require('qs') as typeof import('qs')
  try {
    return qs.parse(text, {
      allowDots,
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
function refusePoison(text: string, { separators, constructorPrototype }: Nesting): void {
  for (const name of new URLSearchParams(text).keys()) {
    if (name.split(separators).includes('__proto__') || constructorPrototype.test(name)) {
      throw new BodyInvalid(`The field name ${JSON.stringify(name)} is not allowed.`)
    }
  }
}
