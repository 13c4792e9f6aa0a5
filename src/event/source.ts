import { NameSet } from './name-set.ts'

/**
 * Who sends an event, as its write key says. It is what `stampEvent` takes for the changes to the event.
 *
 * A key in a web page is anybody's to read. What came with one is marked, and cannot say what only
 * servers may say: `channel` and `context.ip`.
 */
export interface Source {
  readonly name: string
  readonly kind: 'browser' | 'server'
  /** Top-level members that are not archived as they came: the key, and what `members` says. */
  readonly without: NameSet
  /** JSON text of the members of ours: `"source":"web","channel":"browser"`. */
  readonly members: string
}

/** @param kind who can read the key: a `browser` page's visitors, or a `server` alone */
export function createSource(name: string, kind: Source['kind']): Source {
  const ours = kind === 'browser' ? { source: name, channel: 'browser' } : { source: name }
  return {
    name,
    kind,
    without: new NameSet(['writeKey', ...Object.keys(ours)]),
    members: JSON.stringify(ours).slice(1, -1),
  }
}
