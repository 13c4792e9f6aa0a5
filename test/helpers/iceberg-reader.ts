/** Reads an Iceberg table as another program does: with icebird, over HTTP. */
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { icebergManifests, icebergMetadata, icebergRead } from 'icebird'
import type { Test } from 'tap'
import type { ObjectStore, StoreReader } from '../../src/store/store.ts'
import { commitIceberg } from '../../src/table/iceberg/commit-iceberg.ts'
import type { TableState } from '../../src/table/table-state.ts'
import { TestTable } from './table-helper.ts'

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
    // Without a limit for idle connections: a client may take one just when it is closed.
    const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
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

/** Makes a table whose URIs a reader finds over HTTP. */
export async function tableOf(t: Test, store: ObjectStore): Promise<TestTable> {
  const { url } = await ServedStore.start(t, store)
  return new TestTable(store, 'p', url)
}

/** Commits the table's state, and checks that a reader finds the files of the table's state, except staged ones, and their rows. */
export async function isRead(t: Test, table: TestTable): Promise<void> {
  await commitIceberg(table.parts, table.state)
  const { files, rows } = await readIceberg(table.location)
  const expected = [...table.state.files.values()].filter(({ isStaged }) => isStaged !== true)
  t.same(files, filesOf(table, table.state))
  t.equal(
    rows.length,
    expected.reduce((sum, file) => sum + file.rows, 0),
  )
  t.equal(new Set(rows.map(row => row.message_id)).size, rows.length)
}

/** The files of a state, as a reader finds them. */
export function filesOf(table: TestTable, state: TableState): string[] {
  const files = Array.from(state.files.values()).filter(({ isStaged }) => isStaged !== true)
  return files.map(({ path }) => table.toUri(path)).sort()
}

export async function entryRead({
  location,
}: TestTable): Promise<{ entry: number; files: readonly string[] }> {
  const { metadata, files } = await readMetadata(location)
  return { entry: Number(metadata.properties?.['frequency.entry']), files }
}

/** Reads a table in a directory, whose metadata names files by their paths. @param table path without a slash at its end */
export async function readIcebergFiles(table: string): ReturnType<typeof readIceberg> {
  const { fetch } = globalThis
  globalThis.fetch = async (url, init) =>
    String(url).startsWith('/') ? fileResponse(String(url), init) : fetch(url, init)
  try {
    return await readIceberg(table)
  } finally {
    globalThis.fetch = fetch
  }
}

async function fileResponse(path: string, init: RequestInit = {}): Promise<Response> {
  const bytes = await readFile(path).catch(() => undefined)
  if (bytes === undefined) return new Response(null, { status: 404 })
  const range = /^bytes=(\d+)-(\d*)$/.exec(new Headers(init.headers).get('range') ?? '')
  const body =
    range === null ? bytes : bytes.subarray(Number(range[1]), Number(range[2] || bytes.length - 1) + 1)
  const headers = { 'content-length': String(body.length) }
  return new Response(init.method === 'HEAD' ? null : new Uint8Array(body), {
    status: range === null ? 200 : 206,
    headers,
  })
}
