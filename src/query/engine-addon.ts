/** DuckDB's native part. In a checkout npm has installed it. The executable has it in itself, and unpacks it. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isSea } from 'node:sea'
import { QueryFailed } from '../errors.ts'
import { packedFile } from '../process/packed-file.ts'
import { unpack } from '../process/unpack.ts'

/** A file of the executable: which files the engine has, as JSON. binary/build.ts writes it. */
export const ENGINE_FILES = 'engine/files.json'

/** What `ENGINE_FILES` says. Each file is at `engine/<name>`, compressed with Brotli. */
export interface EngineFiles {
  /** The name of the file that Node loads. */
  readonly addon: string
  readonly files: readonly { readonly name: string; readonly sha256: string }[]
}

export interface EngineAddon {
  /** Of the file that Node loads; undefined if `require()` finds it. */
  readonly path: string | undefined
  /** To be called when it is loaded, or will not be. */
  release(): Promise<void>
}

const INSTALLED: EngineAddon = { path: undefined, release: async () => {} }

/**
 * @param directory takes the files that have to be unpacked. If other users may change it, or nothing in it can be
 *   written, the files go to a temporary directory, for one start.
 * @throws QueryFailed if the executable has no engine, or it cannot be unpacked
 */
export async function engineAddon(directory: string): Promise<EngineAddon> {
  if (!isSea()) return INSTALLED
  const list = packedFile(ENGINE_FILES)
  if (list === undefined)
    throw new QueryFailed(
      'This executable was built without DuckDB, which this command needs. Use one with DuckDB.',
    )
  const { addon, files } = JSON.parse(list.toString()) as EngineFiles
  const packed = files.map(({ name, sha256 }) => ({ name, sha256, packed: () => packedBytes(name) }))
  try {
    return { path: join(await unpack(packed, directory, 'engine'), addon), release: async () => {} }
  } catch (error) {
    return await temporaryAddon(addon, packed, (error as Error).message)
  }
}

async function temporaryAddon(
  addon: string,
  packed: Parameters<typeof unpack>[0],
  reason: string,
): Promise<EngineAddon> {
  let directory: string | undefined
  const release = async (): Promise<void> => {
    if (directory !== undefined) await rm(directory, { recursive: true, force: true }).catch(() => {})
  }
  try {
    directory = await mkdtemp(join(tmpdir(), 'frequency-engine-'))
    return { path: join(await unpack(packed, directory, 'engine'), addon), release }
  } catch (error) {
    await release()
    throw new QueryFailed(
      `The query engine cannot be unpacked. In DATA_DIR: ${reason} In TMPDIR: ${(error as Error).message}`,
    )
  }
}

function packedBytes(name: string): Buffer {
  return packedFile(`engine/${name}`) as Buffer
}

let loadedPath: string | undefined

/** Says which file `loadEngineAddon()` loads. */
export function useEngineAddon(path: string): void {
  loadedPath = path
}

/** In the executable, this stands for the package `@duckdb/node-bindings`. */
export function loadEngineAddon(): unknown {
  const addon = { exports: {} }
  process.dlopen(addon, loadedPath as string)
  return addon.exports
}
