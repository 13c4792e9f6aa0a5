import { ConfigInvalid } from '../errors.ts'
import { createSource, type Source } from '../event/source.ts'

const KEYS_MAX = 100_000

/** name, `:kind` and key. A key may have a colon: Jitsu's keys are `user:password` of Basic authentication. */
const ENTRY = /^([A-Za-z0-9][A-Za-z0-9._-]{0,99})(?::(browser|server))?=([\x21-\x2b\x2d-\x7e]{1,255})$/

/**
 * Reads `name=key`, `name:browser=key` or `name:server=key` entries, separated by commas or line breaks. A `#` at the
 * start of a line, or after white space, starts a comment; elsewhere it is part of the key. A name may have several keys,
 * so that a key can be replaced without an interruption.
 *
 * @param label names the text in error messages, which never show the text itself
 * @returns the source of each key
 * @throws ConfigInvalid if an entry is malformed, a key occurs twice, or there are no keys or more than 100,000
 */
export function parseWriteKeys(text: string, label: string): Map<string, Source> {
  const sources = new Map<string, Source>()
  const entries = text
    .split(/\r?\n/)
    .flatMap(line => line.replace(/(?:^|\s)#.*$/, '').split(','))
    .map(entry => entry.trim())
    .filter(entry => entry !== '')
  for (const [index, entry] of entries.entries()) {
    const [, name, kind = 'server', key] = ENTRY.exec(entry) ?? []
    if (name === undefined || key === undefined) {
      throw new ConfigInvalid(
        `${label}: entry ${index + 1} must be name=key, name:browser=key or name:server=key. A key has at most 255 visible ASCII characters, and no comma.`,
      )
    }
    if (sources.has(key))
      throw new ConfigInvalid(`${label}: entry ${index + 1} has the same key as an entry before it.`)
    sources.set(key, createSource(name, kind as Source['kind']))
  }
  if (sources.size === 0) throw new ConfigInvalid(`${label} has no key. An entry is name=key.`)
  if (sources.size > KEYS_MAX) throw new ConfigInvalid(`${label} has more than ${KEYS_MAX} keys.`)
  return sources
}
