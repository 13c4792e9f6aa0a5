import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import type { ObjectStore } from '../store/store.ts'
import { createDecompressor } from './format.ts'

/**
 * Yields the events of an archived object, each as its JSON text.
 *
 * @throws ObjectNotFound, StoreUnavailable, or an error of the decompressor where the object is damaged.
 */
export async function* readEvents(store: ObjectStore, key: string): AsyncIterable<string> {
  const source = await store.get(key)
  const decompressor = createDecompressor(key)
  const copied = pipeline(source, decompressor)
  // The same error ends the loop below.
  copied.catch(() => {})
  const isArray = /\.json(?:\.|$)/.test(key)
  for await (const line of createInterface({ input: decompressor, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (isArray && (line === '[' || line === ']')) continue
    yield isArray && line.endsWith(',') ? line.slice(0, -1) : line
  }
  await copied
}
