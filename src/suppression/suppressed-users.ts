/** Tells an archiver which events are of suppressed users. Follows the list in the archive. */

import { someMember } from '../event/json-members.ts'
import { NameSet } from '../event/name-set.ts'
import type { Logger } from '../process/logger.ts'
import { sleep } from '../process/sleep.ts'
import type { StoreReader } from '../store/store.ts'
import { digestOf, type IdKind, SuppressionList } from './suppression-list.ts'

/** Between two reads of the list. A read may take as long again. */
const REFRESH_MS = 25_000
/** Ids whose answer is remembered. */
const REMEMBERED_MAX = 10_000
const QUOTE = 0x22

const KINDS: readonly IdKind[] = ['user', 'anonymous']
const MEMBERS = [new NameSet(['userId', 'user_id']), new NameSet(['anonymousId', 'anonymous_id'])]

export class SuppressedUsers {
  readonly #list: SuppressionList
  readonly #log: Logger
  #salt: Buffer | undefined
  #digests: ReadonlySet<string> = new Set()
  /** By the bytes of the member's value, behind the kind of id. */
  readonly #answers = new Map<string, boolean>()

  constructor(store: StoreReader, prefix: string, log: Logger) {
    this.#list = new SuppressionList(store, prefix)
    this.#log = log
  }

  /** Ids in the list, when it was last read. */
  get size(): number {
    return this.#digests.size
  }

  /** Reads the list. @throws StoreUnavailable */
  async refresh(): Promise<void> {
    const digests = await this.#list.digests()
    if (digests.size === this.#digests.size && [...digests].every(each => this.#digests.has(each))) return
    this.#salt ??= await this.#list.salt()
    this.#digests = digests
    this.#answers.clear()
    this.#log.info({ ids: digests.size }, 'The list of suppressed ids has changed.')
  }

  /** Reads the list now and then. A read that fails leaves it as it is. */
  async follow(stopping: AbortSignal): Promise<void> {
    while (!stopping.aborted) {
      await sleep(REFRESH_MS, stopping)
      if (stopping.aborted) return
      await this.refresh().catch(error =>
        this.#log.warn({ err: error }, 'The list of suppressed ids cannot be read now.'),
      )
    }
  }

  /** Whether an event is of a suppressed user. @param json a JSON object */
  has(json: Buffer): boolean {
    if (this.#digests.size === 0) return false
    return someMember(json, MEMBERS, (set, value) => this.#isSuppressed(KINDS[set] as IdKind, value))
  }

  #isSuppressed(kind: IdKind, value: Buffer): boolean {
    const text = value.toString()
    const key = kind + text
    const known = this.#answers.get(key)
    if (known !== undefined) return known
    const id = value[0] === QUOTE ? (JSON.parse(text) as string) : text
    const isSuppressed = this.#salt !== undefined && this.#digests.has(digestOf(this.#salt, { kind, id }))
    if (this.#answers.size >= REMEMBERED_MAX) this.#answers.clear()
    this.#answers.set(key, isSuppressed)
    return isSuppressed
  }
}
