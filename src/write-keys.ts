import { hash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { ConfigInvalid } from './errors.ts'
import type { Logger } from './logger.ts'
import { NameSet } from './name-set.ts'

/** How often the file of the keys is looked at. Polled, because a file that is replaced by a link is not watched reliably. */
const FILE_CHECK_MS = 1_000
const KEYS_MAX = 100_000

/** name, `:kind` and key. Jitsu's keys have a colon: in Basic authentication it ends the user name. */
const ENTRY = /^([A-Za-z0-9][A-Za-z0-9._-]{0,99})(?::(browser|server))?=([\x21-\x2b\x2d-\x7e]{1,255})$/

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

/**
 * Reads `name=key`, `name:browser=key` or `name:server=key` entries, with commas or line breaks between;
 * a line that begins with `#` is a comment. A name may have several keys, so that one can be replaced.
 *
 * @param where names the text in errors, which never show it.
 * @returns the source of each key
 * @throws ConfigInvalid
 */
export function parseWriteKeys(text: string, where: string): Map<string, Source> {
  const sources = new Map<string, Source>()
  const entries = text
    .split(/\r?\n/)
    .filter(line => !line.trimStart().startsWith('#'))
    .flatMap(line => line.split(','))
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

function createSource(name: string, kind: Source['kind']): Source {
  const ours = kind === 'browser' ? { source: name, channel: 'browser' } : { source: name }
  return {
    name,
    kind,
    without: new NameSet(['writeKey', ...Object.keys(ours)]),
    members: JSON.stringify(ours).slice(1, -1),
  }
}

/**
 * The keys that may send events. They are looked up by a digest with a salt of this process, so that the
 * time which that takes tells nothing about a key, however many there are.
 */
export class WriteKeys {
  readonly #salt = randomBytes(32).toString('base64')
  #sources = new Map<string, Source>()
  #stop = () => {}

  /** @param sources as parseWriteKeys gives them */
  constructor(sources: ReadonlyMap<string, Source>) {
    this.replace(sources)
  }

  replace(sources: ReadonlyMap<string, Source>): void {
    this.#sources = new Map([...sources].map(([key, source]) => [this.#digest(key), source]))
  }

  /** Undefined for a key that is not known. */
  sourceOf(key: string): Source | undefined {
    return this.#sources.get(this.#digest(key))
  }

  /** Reads a file of keys, and again whenever it changes, until `close()`. @throws ConfigInvalid */
  static async openFile(path: string, log: Logger): Promise<WriteKeys> {
    let seen = await versionOf(path)
    const keys = new WriteKeys(readKeysFile(path))
    const check = async () => {
      const version = await versionOf(path)
      if (version === seen) return
      seen = version
      try {
        const sources = readKeysFile(path)
        keys.replace(sources)
        log.info({ path, keys: sources.size }, 'The write keys were read again.')
      } catch (error) {
        log.error({ err: error }, 'The write keys stay as they are: their file cannot be used.')
      }
    }
    const timer = setInterval(() => void check(), FILE_CHECK_MS).unref()
    keys.#stop = () => clearInterval(timer)
    return keys
  }

  close(): void {
    this.#stop()
  }

  #digest(key: string): string {
    return hash('sha256', this.#salt + key, 'base64')
  }
}

/** @throws ConfigInvalid */
function readKeysFile(path: string): Map<string, Source> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigInvalid(`WRITE_KEYS_FILE cannot be read: ${(error as Error).message}`)
  }
  return parseWriteKeys(text, 'WRITE_KEYS_FILE')
}

/** Differs when the file was written or replaced, or is gone. */
async function versionOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs, ctimeMs } = await stat(path)
    return [ino, size, mtimeMs, ctimeMs].join()
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code)
  }
}

/**
 * The keys of these settings; undefined where none are set, and anybody may send.
 *
 * @throws ConfigInvalid also for a file that holds no key.
 */
export async function openWriteKeys(
  { writeKeys, writeKeysFile }: { writeKeys?: string | undefined; writeKeysFile?: string | undefined },
  log: Logger,
): Promise<WriteKeys | undefined> {
  if (writeKeysFile !== undefined) return await WriteKeys.openFile(writeKeysFile, log)
  return writeKeys === undefined ? undefined : new WriteKeys(parseWriteKeys(writeKeys, 'WRITE_KEYS'))
}
