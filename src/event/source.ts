import { NameSet } from './name-set.ts'

/**
 * The source that a write key stands for. `stampEvent` accepts it as the changes to an event.
 *
 * Anybody can read a key in a web page. Events with such a key get `"channel":"browser"`, and cannot set what only
 * servers may set: `channel` and `context.ip`.
 */
export interface Source {
  readonly name: string
  readonly kind: 'browser' | 'server'
  /** Top-level members of the client that are removed: the key, and those that `members` sets. */
  readonly without: NameSet
  /** JSON of the members that are added: `"source":"web","channel":"browser"`. */
  readonly members: string
}

/** @param kind who can read the key: the visitors of a page (`browser`), or a server only (`server`) */
export function createSource(name: string, kind: Source['kind']): Source {
  const ours = kind === 'browser' ? { source: name, channel: 'browser' } : { source: name }
  return {
    name,
    kind,
    without: new NameSet(['writeKey', ...Object.keys(ours)]),
    members: JSON.stringify(ours).slice(1, -1),
  }
}
