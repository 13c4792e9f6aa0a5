/** Several writers of one Iceberg table: races, writers that are killed at any request, and writers that were paused. */
import { test } from 'tap'
import type { ObjectStore } from '../../../src/store/store.ts'
import { commitIceberg } from '../../../src/table/iceberg/commit-iceberg.ts'
import type { IcebergParts } from '../../../src/table/iceberg/commit-version.ts'
import { dropHistory, expireSnapshots } from '../../../src/table/iceberg/expire-snapshots.ts'
import { readManifest, readManifestList } from '../../../src/table/iceberg/manifest.ts'
import { currentSnapshot, decodeMetadata } from '../../../src/table/iceberg/table-metadata.ts'
import type { TableKeys } from '../../../src/table/table-keys.ts'
import type { TableState } from '../../../src/table/table-state.ts'
import { createGate, type Gate } from '../../helpers/gate.ts'
import { range } from '../../helpers/helper.ts'
import { filesOf, hintOf } from '../../helpers/iceberg-reader.ts'
import { MemoryStore } from '../../helpers/memory-store.ts'
import { keysOf } from '../../helpers/store-helper.ts'
import { FIRST_HOUR, TestTable } from '../../helpers/table-helper.ts'

const CRASH = new Error('killed')
const METHODS = ['create', 'replace', 'read', 'move', 'remove'] as const
const LIMITS = { entriesMax: 6, smallMax: 3 }

/** The store with `before` called ahead of each request, with its number. */
function watched(store: ObjectStore, before: (call: number) => Promise<void>): ObjectStore {
  let calls = 0
  return new Proxy(store, {
    get: (target, name: keyof ObjectStore) => {
      const value = target[name]
      if (name === 'list')
        return async function* (prefix: string) {
          await before(++calls)
          yield* target.list(prefix)
        }
      if (typeof value !== 'function' || !METHODS.some(method => method === name)) return value
      return async (...args: never[]) => {
        await before(++calls)
        return (value as (...args: never[]) => Promise<unknown>).apply(target, args)
      }
    },
  })
}

/** Reads the version that the hint names, and its manifests. Our own decoder is fast enough to do so a thousand times. */
async function readFiles(
  store: ObjectStore,
  keys: TableKeys,
): Promise<{ readonly files: readonly string[]; readonly manifests: number }> {
  const version = (await hintOf(store, keys)) ?? 0
  const { object } = await store.read(`${keys.metadata}v${version}.metadata.json`)
  if (object === undefined) throw new Error(`the hint names version ${version}, which is not there`)
  const snapshot = currentSnapshot(decodeMetadata(keys, version, object.body))
  const manifests = await readManifestList(store, keys, snapshot?.['manifest-list'] ?? '')
  const entries = await Promise.all(manifests.map(manifest => readManifest(store, keys, manifest)))
  return {
    files: entries
      .flat()
      .map(({ data_file }) => data_file.file_path)
      .sort(),
    manifests: manifests.length,
  }
}

interface Prepared {
  readonly table: TestTable
  readonly before: TableState
  /** Opens a copy of the table as it was before. */
  copy(): ObjectStore
}

/** A table in memory with some versions, and a last entry that is not in Iceberg yet: it adds, replaces and removes files. */
async function prepare(): Promise<Prepared> {
  const store = new MemoryStore()
  const table = new TestTable(store, 'p', 's3://bucket')
  const files = await Promise.all(
    range(5).map(n => table.file({ name: `f${n}`, hour: FIRST_HOUR + n, rows: 2 })),
  )
  for (const file of files) {
    table.append({ added: [file] })
    await commitIceberg({ ...table.parts, manifestLimits: LIMITS }, table.state)
  }
  const before = table.state
  const rewritten = { name: 'f1', hour: FIRST_HOUR + 1, rows: 1, path: `${table.keys.rewritten}f1-1.parquet` }
  table.append({
    added: [await table.file({ hour: FIRST_HOUR, rows: 2 })],
    replaced: [await table.file(rewritten)],
    removed: [files[0]?.key as string],
  })
  return { table, before, copy: () => store.copy() }
}

type Work = (parts: IcebergParts, state: TableState) => Promise<void>

/** Both begin with a commit. */
const WORKS: Readonly<Record<string, Work>> = {
  expire: async (parts, state) => {
    await commitIceberg(parts, state)
    await expireSnapshots(parts, { keptMs: 0, keptMax: 1 })
  },
  drop: async (parts, state) => {
    await commitIceberg({ ...parts, manifestLimits: LIMITS }, state)
    await dropHistory(parts)
  },
}

for (const [name, work] of Object.entries(WORKS)) {
  test(`${name}: a writer is killed before any request, and the next goes on`, async t => {
    const { table, before, copy } = await prepare()
    const sets = [before, table.state].map(state => JSON.stringify(filesOf(table, state)))
    for (let call = 1, isKilled = true; isKilled; call++) {
      const store = copy()
      const dying = watched(store, async each => {
        if (each >= call) throw CRASH
      })
      isKilled = await work({ ...table.parts, store: dying }, table.state).then(
        () => false,
        error => {
          if (error !== CRASH) throw error
          return true
        },
      )
      const { files } = await readFiles(store, table.keys)
      if (!sets.includes(JSON.stringify(files))) t.fail(`torn before request ${call}`)
      await work({ ...table.parts, store }, table.state)
      await dropHistory({ ...table.parts, store })
      const after = await readFiles(store, table.keys)
      if (JSON.stringify(after.files) !== sets[1]) t.fail(`not whole before request ${call}`)
      const left = await keysOf(store, table.keys.metadata)
      if (left.length !== 3 + after.manifests) t.fail(`before request ${call}, left over: ${left.join(' ')}`)
      if (!isKilled) t.ok(call > 20, `${call} requests`)
    }
  })
}

const OTHERS: Readonly<Record<string, Work>> = {
  'others commit and drop all history': async (parts, state) => {
    await commitIceberg(parts, state)
    await commitIceberg(parts, { ...state, number: state.number + 1 })
    await commitIceberg(parts, { ...state, number: state.number + 2 })
    await dropHistory(parts)
  },
  'another commits': (parts, state) => commitIceberg(parts, { ...state, number: state.number + 1 }),
  'others only clean': parts => dropHistory(parts),
}

for (const [name, others] of Object.entries(OTHERS)) {
  for (const [what, work] of Object.entries(WORKS)) {
    test(`${what}: while a writer is paused at any request, ${name}`, async t => {
      const { table, copy } = await prepare()
      for (let call = 1, isPaused = true; isPaused; call++) {
        const store = copy()
        const gate: Gate = createGate()
        let hint = 0
        const checkHint = async () => {
          const now = (await hintOf(store, table.keys)) ?? 0
          if (now < hint) t.fail(`the hint fell from ${hint} to ${now} (request ${call})`)
        }
        isPaused = false
        const paused = watched(store, async each => {
          if (each > call) await checkHint()
          if (each !== call) return
          isPaused = true
          await gate.reach()
        })
        const working = work({ ...table.parts, store: paused }, table.state)
        await Promise.race([gate.reached, working.catch(() => {})])
        await others({ ...table.parts, store }, table.state)
        hint = (await hintOf(store, table.keys)) ?? 0
        gate.open()
        await working
        await checkHint()
        const { files } = await readFiles(store, table.keys)
        if (JSON.stringify(files) !== JSON.stringify(filesOf(table, table.state)))
          t.fail(`wrong files (request ${call})`)
        if (!isPaused) t.ok(call > 8, `${call} requests`)
      }
    })
  }
}
