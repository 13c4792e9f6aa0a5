/** Saves the objects of a damaged record: their bytes are used if they have the SHA-256 that its head names. */

import { hash } from 'node:crypto'
import { ObjectNotFound } from '../../errors.ts'
import { StoredDigest } from '../../log/describe-object.ts'
import { headHashIn, unverifiedBatches } from '../../log/log-record.ts'
import { emptyObject } from '../../object/format.ts'
import { isObjectKey } from '../../object/object-key.ts'
import type { ObjectStore } from '../../store/store.ts'

/** Bytes of an object that is not at its key. */
export interface Salvage {
  readonly key: string
  /** The key at which they are staged; undefined if they are in the record. */
  readonly staged: string | undefined
  /** The bytes, if they are in the record. */
  readonly body: Buffer | undefined
}

export interface Salvaged {
  readonly bodies: readonly Salvage[]
  /** The hash by which the next record names this one; undefined if its bytes do not tell. */
  readonly hash: string | undefined
}

/**
 * Finds the objects of a damaged record that are not at their keys, but whose bytes can be saved.
 *
 * @param bytes the whole record, damaged as it is
 * @param isVoid whether the batch at this place in the record is void: it must not become an object
 * @throws StoreUnavailable
 */
export async function salvage(
  store: Pick<ObjectStore, 'get'>,
  prefix: string,
  bytes: Buffer,
  isVoid: (batch: number) => boolean,
): Promise<Salvaged> {
  const bodies: Salvage[] = []
  for (const [n, { key, sha256, staged, body }] of unverifiedBatches(bytes).entries()) {
    const isOurs = key.startsWith(`${prefix}/`) && isObjectKey(key)
    if (!isOurs || isVoid(n) || (await digestIn(store, key)) === sha256) continue
    if (staged === undefined) {
      if (body !== undefined && hash('sha256', body, 'hex') === sha256) bodies.push({ key, staged, body })
    } else if ((await digestIn(store, staged)) === sha256) bodies.push({ key, staged, body: undefined })
  }
  return { bodies, hash: headHashIn(bytes) }
}

/** Moves the bytes to their key. @throws StoreUnavailable */
export async function settleSalvage(store: ObjectStore, { key, staged, body }: Salvage): Promise<void> {
  if (body !== undefined) await storeSalvage(store, key, body)
  else if (staged !== undefined) await store.move(staged, key)
}

/** Stores the bytes. Replaces any object but an empty one: that means that the batch was declared void meanwhile. */
async function storeSalvage(store: ObjectStore, key: string, body: Buffer): Promise<void> {
  const { outcome } = await store.create(key, body)
  if (outcome === 'created') return
  const { object } = await store.read(key)
  if (object?.body.equals(emptyObject(key)) !== true) await store.replace(key, body)
}

/** The SHA-256 of an object, in hexadecimal; undefined if it does not exist. */
async function digestIn(store: Pick<ObjectStore, 'get'>, key: string): Promise<string | undefined> {
  const digest = new StoredDigest()
  try {
    for await (const chunk of await store.get(key)) digest.add(chunk)
  } catch (error) {
    if (error instanceof ObjectNotFound) return undefined
    throw error
  }
  return digest.end().sha256
}
