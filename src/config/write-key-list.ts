import { ConfigInvalid } from '../errors.ts'
import { createSource, type Source } from '../event/source.ts'

const KEYS_MAX = 100_000

/** name, `:kind` and key. Jitsu's keys have a colon: in Basic authentication it ends the user name. */
const ENTRY = /^([A-Za-z0-9][A-Za-z0-9._-]{0,99})(?::(browser|server))?=([\x21-\x2b\x2d-\x7e]{1,255})$/

/**
 * Reads `name=key`, `name:browser=key` or `name:server=key` entries, with commas or line breaks between. A `#` at the
 * beginning of a line, or behind a space, begins a comment; a key may hold others. A name may have several keys, so that
 * one can be replaced.
 *
 * @param where names the text in errors, which never show it.
 * @returns the source of each key
 * @throws ConfigInvalid
 */
export function parseWriteKeys(text: string, where: string): Map<string, Source> {
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
        `${where}: entry ${index + 1} must be name=key, name:browser=key or name:server=key; a key has at most 255 visible ASCII characters, and no comma.`,
      )
    }
    if (sources.has(key))
      throw new ConfigInvalid(`${where}: entry ${index + 1} has the key of an entry before it.`)
    sources.set(key, createSource(name, kind as Source['kind']))
  }
  if (sources.size === 0) throw new ConfigInvalid(`${where} holds no key: an entry is name=key.`)
  if (sources.size > KEYS_MAX) throw new ConfigInvalid(`${where} holds more than ${KEYS_MAX} keys.`)
  return sources
}
