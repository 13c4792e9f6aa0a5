/** Reads an Iceberg table as another program does: with icebird, over HTTP. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { icebergManifests, icebergMetadata, icebergRead } from 'icebird'
import type { Test } from 'tap'
import type { StoreReader } from '../../src/store/store.ts'

export type ReadableStore = Pick<StoreReader, 'read'>

/** A web server that has the objects of a store. */
export class ServedStore {
  readonly url: string
  /** May be replaced at any time. */
  store: ReadableStore

  private constructor(url: string, store: ReadableStore) {
    this.url = url
    this.store = store
  }

  static async start(t: Test, store: ReadableStore): Promise<ServedStore> {
    const server = createServer((request, response) => {
      served.#answer(request, response).catch(error => response.destroy(error))
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
    const served = new ServedStore(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, store)
    return served
  }

  async #answer({ url = '', headers }: IncomingMessage, response: ServerResponse): Promise<void> {
    const { object } = await this.store.read(decodeURIComponent(url.slice(1)))
    if (object === undefined) {
      response.writeHead(404).end()
      return
    }
    const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '')
    const [start, end] = [Number(range?.[1] ?? 0), Number(range?.[2] || object.size - 1)]
    response.writeHead(range === null ? 200 : 206).end(object.body.subarray(start, end + 1))
  }
}

export interface IcebergTable {
  readonly metadata: Awaited<ReturnType<typeof icebergMetadata>>
  readonly manifests: Awaited<ReturnType<typeof icebergManifests>>
  /** Paths of the files, in order. */
  readonly files: readonly string[]
}

/** Reads the newest version, by its hint, and all of its manifests. */
export async function readMetadata(location: string): Promise<IcebergTable> {
  const metadata = await icebergMetadata({ tableUrl: location })
  const manifests = await icebergManifests(metadata)
  const live = manifests.flatMap(({ entries }) => entries.filter(({ status }) => status !== 2))
  return { metadata, manifests, files: live.map(({ data_file }) => data_file.file_path).sort() }
}

/** Reads the files too. */
export async function readIceberg(
  location: string,
): Promise<IcebergTable & { readonly rows: readonly Record<string, unknown>[] }> {
  const table = await readMetadata(location)
  const { files, metadata } = table
  const rows = files.length === 0 ? [] : await icebergRead({ tableUrl: location, metadata })
  return { ...table, rows }
}

/** The number that the hint names; undefined if there is no hint. */
export async function hintOf(
  store: ReadableStore,
  { metadata }: { readonly metadata: string },
): Promise<number | undefined> {
  const { object } = await store.read(`${metadata}version-hint.text`)
  return object === undefined ? undefined : Number(object.body)
}
