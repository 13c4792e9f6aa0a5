/** What clients believe sent, held against the archive. */
import type { Test } from 'tap'

export type Archived = Record<string, unknown> & { readonly messageId: string; readonly type: string }

export function parsed(lines: readonly string[]): Archived[] {
  return lines.map(line => JSON.parse(line))
}

/** Everything of `messageIds` is archived, and nothing twice. */
export function hasEachOnce(t: Test, archived: readonly Archived[], messageIds: readonly string[]): void {
  const ids = archived.map(({ messageId }) => messageId)
  const present = new Set(ids)
  t.equal(present.size, ids.length, 'nothing is there twice')
  t.strictSame(
    messageIds.filter(id => !present.has(id)),
    [],
    'nothing is missing',
  )
}

/** The only event of this type. */
export function onlyOne(t: Test, archived: readonly Archived[], type: string): Archived {
  const [event, ...others] = archived.filter(each => each.type === type)
  t.equal(others.length, 0, `one ${type}`)
  if (event === undefined) throw new Error(`No ${type} was archived`)
  return event
}

/** No write key anywhere in what was archived. */
export function hasNoKey(t: Test, lines: readonly string[], writeKey: string): void {
  t.strictSame(
    lines.filter(line => line.includes(writeKey)),
    [],
    'the write key is not archived',
  )
}
