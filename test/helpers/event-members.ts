/**
 * Events as they are written: each member's value is its JSON text, so no digit, escape or repeated name is lost.
 * Nothing here is code under test, and nothing recurses: an event may nest 200,000 levels deep.
 */

export interface WrittenMember {
  /** Decoded. */
  readonly name: string
  /** The JSON text of the value. */
  readonly json: string
}

/** One row of `events`, whatever it was read with. Times are as in `2026-11-24T13:05:07.123Z`, JSON is its text. */
export type EventRow = Readonly<Record<string, string | null>>

const TEXTS: ReadonlySet<string> = new Set([
  'messageId',
  'event',
  'type',
  'userId',
  'user_id',
  'anonymousId',
  'anonymous_id',
  'source',
  'channel',
])
const JSON_COLUMNS = ['properties', 'context', 'traits'] as const

/** The members of a JSON object, in the order in which they are written. */
export function writtenMembers(line: string): WrittenMember[] {
  const members: WrittenMember[] = []
  let depth = 0
  let start = line.indexOf('{') + 1
  let name = ''
  for (let at = line.indexOf('{'); at < line.length; at++) {
    const char = line[at]
    if (char === '"') at = stringEnd(line, at)
    else if (char === '{' || char === '[') depth++
    else if (depth === 1 && char === ':') {
      name = JSON.parse(line.slice(start, at))
      start = at + 1
    } else if (depth === 1 && (char === ',' || char === '}')) {
      const json = line.slice(start, at).trim()
      if (json !== '') members.push({ name, json })
      start = at + 1
    }
    if (char === '}' || char === ']') depth--
  }
  return members
}

/** The index of the quote that closes the string: an even number of backslashes is before it. */
function stringEnd(line: string, start: number): number {
  for (let at = line.indexOf('"', start + 1); ; at = line.indexOf('"', at + 1)) {
    let first = at
    while (line[first - 1] === '\\') first--
    if ((at - first) % 2 === 0) return at
  }
}

/** The members in an order of their own. A text that has a column is compared by its value, all else as it is written. */
export function canonical(line: string): string[] {
  return writtenMembers(line)
    .map(({ name, json }) => {
      const value = TEXTS.has(name) && json.startsWith('"') ? JSON.stringify(JSON.parse(json)) : json
      return `${JSON.stringify(name)}:${value}`
    })
    .sort()
}

/** The event that a row says, by the rules of docs/query.md. */
export function lineOf(row: EventRow): string {
  if (row.raw !== null && row.raw !== undefined) return row.raw
  const extra = row.extra ?? '{}'
  const kept = new Set(writtenMembers(extra).flatMap(({ name, json }) => (json === 'null' ? [] : [name])))
  const text = (name: string, value: string | null | undefined): string[] =>
    value === null || value === undefined || kept.has(name) ? [] : [`"${name}":${JSON.stringify(value)}`]
  const identity = (camel: string, snake: string): string[] => {
    const [usual, other] = row.type === null ? [snake, camel] : [camel, snake]
    return kept.has(other) ? [] : text(usual, row[snake])
  }
  const inside = extra.slice(1, -1)
  const members = [
    text('messageId', row.message_id),
    text('event', row.event),
    text('type', row.type),
    identity('userId', 'user_id'),
    identity('anonymousId', 'anonymous_id'),
    text('timestamp', row.timestamp),
    text('source', row.source),
    text('channel', row.channel),
    JSON_COLUMNS.flatMap(name => (typeof row[name] === 'string' ? [`"${name}":${row[name]}`] : [])),
    inside === '' ? [] : [inside],
    text('receivedAt', row.received_at),
  ]
  return `{${members.flat().join(',')}}`
}
