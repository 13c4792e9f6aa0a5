import { hash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { parseWriteKeys } from '../config/write-key-list.ts'
import { ConfigInvalid } from '../errors.ts'
import type { Source } from '../event/source.ts'
import type { Logger } from '../process/logger.ts'

/** How often the file of the keys is looked at. Polled, because a file that is replaced by a link is not watched reliably. */
const FILE_CHECK_MS = 1_000

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
