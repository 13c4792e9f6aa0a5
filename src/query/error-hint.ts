/** What to write instead, for the mistakes in SQL whose errors of DuckDB do not say it. */

export const JSON_HINT = "Put a member of JSON in parentheses: (properties->>'plan') = 'pro'."

/** A text of a column that was compared with a number, a truth value or a time. */
const OF_COLUMN = /Could not convert string .* to \w+(?:\([^)]*\))? when casting from source column (\w+)/s
/** `a = 'b' and properties->>'c' = 'd'`: `and` binds first, so a whole column of JSON is a truth value. */
const OF_JSON =
  /Failed to cast value to numerical: .* when casting from source column|'json_extract(?:_string)?\(JSON, BOOLEAN\)'/s
const OF_VALUE = /^Conversion Error: (?:Could not convert string|Failed to cast value to numerical)/
const OF_TYPES = /Cannot (?:compare|mix) values of type (?:VARCHAR and |\S+(?: \S+)* and (?:type )?VARCHAR\b)/
const NO_COLUMN = /^Binder Error: Referenced column "(.*?)" not found/s

/** Of each end of an error. Between them is a text of an event, which may be long. */
const END_CHARS = 1_000

/** @returns one or two sentences; undefined if DuckDB's words are enough */
export function hintOf(error: string): string | undefined {
  const isLong = error.length > 2 * END_CHARS
  const message = isLong ? `${error.slice(0, END_CHARS)}…${error.slice(-END_CHARS)}` : error
  const [, column] = OF_COLUMN.exec(message) ?? []
  if (column !== undefined)
    return `${column} is a text: compare it with a text in quotes, like ${column} = '42'. To compare it as a number, write try_cast(${column} as double).`
  if (OF_JSON.test(message)) return JSON_HINT
  if (OF_VALUE.test(message) || OF_TYPES.test(message))
    return "A text is compared with something else: compare it with a text in quotes, like '42'. To compare it as a number, write try_cast(… as double)."
  const [, name] = NO_COLUMN.exec(message) ?? []
  if (name === undefined) return undefined
  return `If it is a text, write it in single quotes: '${name.replaceAll("'", "''")}'.`
}
