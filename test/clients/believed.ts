/** Compares the events that a client reports as sent with the archive. */
import type { Test } from 'tap'

export type Archived = Record<string, unknown> & { readonly messageId: string; readonly type: string }

export function parsed(lines: readonly string[]): Archived[] {
  return lines.map(line => JSON.parse(line))
}

/** Asserts that each of `messageIds` is archived, and that no id is there twice. */
export function hasEachOnce(t: Test, archived: readonly Archived[], messageIds: readonly string[]): void {
  const ids = archived.map(({ messageId }) => messageId)
  const present = new Set(ids)
  t.equal(present.size, ids.length, 'no id is archived twice')
  t.strictSame(
    messageIds.filter(id => !present.has(id)),
    [],
    'no id is missing',
  )
}

/** Asserts that there is one event of this type, and returns it. */
export function onlyOne(t: Test, archived: readonly Archived[], type: string): Archived {
  const [event, ...others] = archived.filter(each => each.type === type)
  t.equal(others.length, 0, `one ${type}`)
  if (event === undefined) throw new Error(`No ${type} was archived`)
  return event
}

/** Asserts that the write key is not in the archive. */
export function hasNoKey(t: Test, lines: readonly string[], writeKey: string): void {
  t.strictSame(
    lines.filter(line => line.includes(writeKey)),
    [],
    'the write key is not archived',
  )
}
