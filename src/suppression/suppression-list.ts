/**
 * The users whose events are not archived any more: a list in the archive, which names nobody.
 *
 *     _frequency/suppressed/salt        32 random bytes, made with the first entry
 *     _frequency/suppressed/ids/<hex>   an entry: SHA-256 of the salt, the kind of id and the id
 *
 * Whoever can read the archive and knows an id can tell whether it is in the list.
 */

import { hash, randomBytes } from 'node:crypto'
import { StoreUnavailable } from '../errors.ts'
import type { ObjectStore, StoreReader } from '../store/store.ts'

const SALT_BYTES = 32
const DIGEST = /^[0-9a-f]{64}$/
const ADDED_AT_ONCE = 16

/** Which member of an event the id is in: `userId` and `user_id`, or `anonymousId` and `anonymous_id`. */
export type IdKind = 'user' | 'anonymous'

export interface SuppressedId {
  readonly kind: IdKind
  /** As in the columns `user_id` and `anonymous_id`: a text, or a number in JSON. */
  readonly id: string
}

export function digestOf(salt: Buffer, { kind, id }: SuppressedId): string {
  return hash('sha256', `${salt.toString('hex')}\0${kind}\0${id}`)
}

export class SuppressionList {
  readonly #store: StoreReader
  readonly #keys: { readonly salt: string; readonly ids: string }

  /** @param prefix of the archive, without a trailing slash */
  constructor(store: StoreReader, prefix: string) {
    this.#store = store
    const own = `${prefix}/_frequency/suppressed/`
    this.#keys = { salt: `${own}salt`, ids: `${own}ids/` }
  }

  /** @returns undefined if nobody was ever suppressed @throws StoreUnavailable */
  async salt(): Promise<Buffer | undefined> {
    const { object } = await this.#store.read(this.#keys.salt)
    return object?.body
  }

  /** The digests of all entries. @throws StoreUnavailable */
  async digests(): Promise<Set<string>> {
    const digests = new Set<string>()
    for await (const key of this.#store.list(this.#keys.ids)) {
      const digest = key.slice(this.#keys.ids.length)
      if (DIGEST.test(digest)) digests.add(digest)
    }
    return digests
  }

  /** Adds ids. Those that are in the list stay. @throws StoreUnavailable */
  async add(store: ObjectStore, ids: readonly SuppressedId[]): Promise<void> {
    if (ids.length === 0) return
    await store.create(this.#keys.salt, randomBytes(SALT_BYTES))
    const salt = await this.salt()
    if (salt === undefined)
      throw new StoreUnavailable('The salt of suppressed ids was stored, but is gone now.')
    for (let at = 0; at < ids.length; at += ADDED_AT_ONCE)
      await Promise.all(
        ids
          .slice(at, at + ADDED_AT_ONCE)
          .map(id => store.create(this.#keys.ids + digestOf(salt, id), Buffer.of())),
      )
  }

  /** Removes ids. @returns how many were in the list @throws StoreUnavailable */
  async remove(store: ObjectStore, ids: readonly SuppressedId[]): Promise<number> {
    const salt = await this.salt()
    if (salt === undefined) return 0
    const known = await this.digests()
    const removed = ids.map(id => digestOf(salt, id)).filter(digest => known.has(digest))
    await store.remove(removed.map(digest => this.#keys.ids + digest))
    return removed.length
  }
}
