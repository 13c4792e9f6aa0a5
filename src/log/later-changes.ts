/** What later records of a log say of the objects of earlier ones: rewritten by an erasure, or removed as expired. */

import { type Static, Type } from '@sinclair/typebox'

/** An object of an earlier, folded record that has other bytes since: events in it were erased. */
export const REWRITE_SCHEMA = Type.Object({
  key: Type.String({ minLength: 1 }),
  /** Of the object as stored. */
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  storedBytes: Type.Integer({ minimum: 0 }),
  /** Before compression. */
  bytes: Type.Integer({ minimum: 0 }),
  /** The new bytes, until they are moved to `key`. */
  staged: Type.String({ minLength: 1 }),
})

/** The part of a record that changes what earlier records say. */
export const CHANGES = {
  rewrites: Type.Optional(Type.Array(REWRITE_SCHEMA)),
  /** Objects of earlier records whose last event was received before this time are removed. Milliseconds since 1970. */
  expiredBefore: Type.Optional(Type.Integer()),
}

export type Rewrite = Static<typeof REWRITE_SCHEMA>

export interface Changes {
  readonly rewrites?: readonly Rewrite[] | undefined
  readonly expiredBefore?: number | undefined
}

/** Collects the changes of all records that are read. */
export class LaterChanges {
  readonly #rewrites = new Map<string, Rewrite>()
  /** By record, ascending, and by time, descending. One that a later one includes is left out. */
  readonly #expirations: { readonly record: number; readonly before: number }[] = []

  /** To be called in the order of the records. */
  add({ rewrites, expiredBefore }: Changes, record: number): void {
    for (const rewrite of rewrites ?? []) this.#rewrites.set(rewrite.key, rewrite)
    if (expiredBefore === undefined) return
    while ((this.#expirations.at(-1)?.before ?? Number.POSITIVE_INFINITY) <= expiredBefore)
      this.#expirations.pop()
    this.#expirations.push({ record, before: expiredBefore })
  }

  /** No object whose last event was received at this time or later is removed. Undefined: no object is removed at all. */
  get expiredBefore(): number | undefined {
    return this.#expirations[0]?.before
  }

  /** The last rewrite of an object. */
  rewriteOf(key: string): Rewrite | undefined {
    return this.#rewrites.get(key)
  }

  get rewrites(): Iterable<Rewrite> {
    return this.#rewrites.values()
  }

  /** Whether the object of a batch is removed. @param record that names the batch */
  isExpired(record: number, lastReceivedAt: number): boolean {
    return this.#expirations.some(each => each.record > record && lastReceivedAt < each.before)
  }
}
