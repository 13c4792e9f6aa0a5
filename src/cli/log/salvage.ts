/** What can still be had of a damaged record: the bytes of its objects, as far as they are what its head says. */

import { hash } from 'node:crypto'
import { ObjectNotFound } from '../../errors.ts'
import { DigestingStore } from '../../log/describe-object.ts'
import { headHashIn, looseHead } from '../../log/log-record.ts'
import { emptyObject } from '../../object/format.ts'
import { isObjectKey } from '../../object/object-key.ts'
import type { ObjectStore } from '../../store/store.ts'

/** Bytes of an object that is not at its key. */
export interface Salvage {
  readonly key: string
  /** Where they are staged; undefined where they are in the record. */
  readonly staged: string | undefined
  readonly body: Buffer | undefined
}

export interface Salvaged {
  readonly bodies: readonly Salvage[]
  /** The hash by which a next record names it, as far as that can be told from its bytes. */
  readonly hash: string | undefined
}

/**
 * @param bytes of the whole record, as they are
 * @param isVoid whether a batch is not to be an object, by its place in the record
 * @throws StoreUnavailable
 */
export async function salvage(
  store: Pick<ObjectStore, 'get'>,
  prefix: string,
  bytes: Buffer,
  isVoid: (batch: number) => boolean,
): Promise<Salvaged> {
  const bodies: Salvage[] = []
  for (const [n, { key, sha256, staged, body }] of looseHead(bytes).entries()) {
    const isOurs = key.startsWith(`${prefix}/`) && isObjectKey(key)
    if (!isOurs || isVoid(n) || (await digestIn(store, key)) === sha256) continue
    if (staged === undefined) {
      if (body !== undefined && hash('sha256', body, 'hex') === sha256) bodies.push({ key, staged, body })
    } else if ((await digestIn(store, staged)) === sha256) bodies.push({ key, staged, body: undefined })
  }
  return { bodies, hash: headHashIn(bytes) }
}

/** Brings the bytes to their key. @throws StoreUnavailable */
export async function settleSalvage(store: ObjectStore, { key, staged, body }: Salvage): Promise<void> {
  if (body !== undefined) await storeSalvage(store, key, body)
  else if (staged !== undefined) await store.move(staged, key)
}

/** Meanwhile the batch may have become void: then an object without events is there, and stays. */
async function storeSalvage(store: ObjectStore, key: string, body: Buffer): Promise<void> {
  const { outcome } = await store.create(key, body)
  if (outcome === 'created') return
  const { object } = await store.read(key)
  if (object?.body.equals(emptyObject(key)) !== true) await store.replace(key, body)
}

/** Undefined where there is no such object. */
async function digestIn(store: Pick<ObjectStore, 'get'>, key: string): Promise<string | undefined> {
  const digesting = new DigestingStore(store)
  try {
    for await (const _ of await digesting.get(key));
  } catch (error) {
    if (error instanceof ObjectNotFound) return undefined
    throw error
  }
  return digesting.end().sha256
}
