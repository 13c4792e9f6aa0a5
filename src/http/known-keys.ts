import { hash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { parseWriteKeys } from '../config/write-key-list.ts'
import { ConfigInvalid } from '../errors.ts'
import type { Source } from '../event/source.ts'
import type { Logger } from '../process/logger.ts'

/**
 * Interval between two checks of the key file. Polled: a watch misses a file that is replaced through a symbolic
 * link.
 */
const FILE_CHECK_MS = 1_000

/**
 * The keys that may send events. A key is looked up by its digest, salted with random bytes of this process. So the
 * time of a lookup tells an attacker nothing about the keys.
 */
export class WriteKeys {
  readonly #salt = randomBytes(32).toString('base64')
  #sources = new Map<string, Source>()
  #stop = () => {}

  /** @param sources by key, as `parseWriteKeys` returns them */
  constructor(sources: ReadonlyMap<string, Source>) {
    this.replace(sources)
  }

  replace(sources: ReadonlyMap<string, Source>): void {
    this.#sources = new Map([...sources].map(([key, source]) => [this.#digest(key), source]))
  }

  /** The source of a key; undefined if the key is unknown. */
  sourceOf(key: string): Source | undefined {
    return this.#sources.get(this.#digest(key))
  }

  /**
   * Reads a file of keys, and reads it again after each change, until `close()`. If a changed file cannot be used, the
   * keys stay as they are, and an error is logged.
   *
   * @throws ConfigInvalid if the file cannot be read now, or has no valid key
   */
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

/** @throws ConfigInvalid if the file cannot be read, or its keys are not valid */
function readKeysFile(path: string): Map<string, Source> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigInvalid(`WRITE_KEYS_FILE: ${path} cannot be read: ${(error as Error).message}`)
  }
  return parseWriteKeys(text, 'WRITE_KEYS_FILE')
}

/** A text that changes if the file is written, replaced or removed. */
async function versionOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs, ctimeMs } = await stat(path)
    return [ino, size, mtimeMs, ctimeMs].join()
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code)
  }
}

/**
 * Opens the keys of WRITE_KEYS_FILE, else of WRITE_KEYS.
 *
 * @returns undefined if neither is set: then anybody may send
 * @throws ConfigInvalid if the file cannot be read, or there is no valid key
 */
export async function openWriteKeys(
  { writeKeys, writeKeysFile }: { writeKeys?: string | undefined; writeKeysFile?: string | undefined },
  log: Logger,
): Promise<WriteKeys | undefined> {
  if (writeKeysFile !== undefined) return await WriteKeys.openFile(writeKeysFile, log)
  return writeKeys === undefined ? undefined : new WriteKeys(parseWriteKeys(writeKeys, 'WRITE_KEYS'))
}
