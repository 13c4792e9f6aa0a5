import { text } from 'node:stream/consumers'
import type { Config } from '../../src/config/config.ts'
import { createDecompressor } from '../../src/object/format.ts'
import { openStore } from '../../src/store/open-store.ts'

export interface ArchivedObject {
  readonly key: string
  /** One line of NDJSON for each event. */
  readonly lines: readonly string[]
}

/** Resolves to all objects in the archive of this config, in the order of their keys. */
export async function archivedObjects(config: Config): Promise<ArchivedObject[]> {
  const store = await openStore(config)
  const objects: ArchivedObject[] = []
  for await (const key of store.list(`${config.archive.prefix}/dt=`)) {
    const json = await text((await store.get(key)).pipe(createDecompressor(key)))
    objects.push({ key, lines: json.split('\n').slice(0, -1) })
  }
  await store.close()
  return objects
}

/** Returns the `n` of each event, in the order of the objects and lines. */
export function numbersIn(objects: readonly ArchivedObject[]): number[] {
  return objects.flatMap(({ lines }) => lines.map(line => JSON.parse(line).n))
}
