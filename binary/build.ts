/**
 * Makes `dist/frequency-<os>-<arch>`: the program, Node and DuckDB in one file. Beside it, the licenses of the packages.
 *
 *     npm run binary [-- FILE]
 *
 * The Node that runs this script becomes the executable, as
 * https://nodejs.org/docs/latest-v20.x/api/single-executable-applications.html says.
 */

import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AssetCollector, type Assets, installedEngine } from './assets.ts'
import { bundleProgram } from './bundle.ts'
import { licensesOf, packagesOf } from './licenses.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const require = createRequire(import.meta.url)
const HERE = join(ROOT, 'binary')
/** In the executable of Node; Node says where the program is by it. */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'
const RUN_MS_MAX = 120_000
const MAIN_PARAMETERS = 'require, module, exports, __filename, __dirname'

export interface BuiltBinary {
  readonly path: string
  readonly bytes: number
  readonly hasEngine: boolean
  /** The packages in it, by their directories, which are relative to the root of the project. */
  readonly packages: readonly string[]
}

/** @param path of the executable */
export async function buildBinary(path: string): Promise<BuiltBinary> {
  const directory = mkdtempSync(join(tmpdir(), 'frequency-binary-'))
  try {
    const engine = installedEngine()
    const collector = new AssetCollector(directory)
    const { script, packages } = await bundleProgram(engine !== undefined)
    collector.add('program.cjs', `(function (${MAIN_PARAMETERS}) {${script}\n})`)
    await collector.addPages()
    if (engine !== undefined) await collector.addEngine(engine, strip)
    await recordCodeCache(directory, collector.assets)
    const blob = makeBlob(directory, {
      ...collector.assets,
      'program.cache': join(directory, 'program.cache'),
    })
    const executable = join(directory, 'node')
    makeExecutable(executable, blob)
    mkdirSync(dirname(path), { recursive: true })
    const unfinished = `${path}.unfinished`
    copyFileSync(executable, unfinished)
    renameSync(unfinished, path)
    const contained = packagesOf(packages)
    writeFileSync(`${path}-licenses.txt`, licensesOf(contained))
    return { path, bytes: statSync(path).size, hasEngine: engine !== undefined, packages: contained }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

async function recordCodeCache(directory: string, assets: Assets): Promise<void> {
  writeFileSync(join(directory, 'assets.json'), JSON.stringify(assets))
  const cwd = join(directory, 'run')
  mkdirSync(cwd)
  const script = join(HERE, 'record-code-cache.cjs')
  run(process.execPath, [script, directory, String(await freePort())], {
    cwd,
    env: { PATH: process.env.PATH },
  })
}

function makeBlob(directory: string, assets: Assets): string {
  const output = join(directory, 'blob')
  const config = join(directory, 'sea-config.json')
  const main = join(HERE, 'main.cjs')
  writeFileSync(config, JSON.stringify({ main, output, assets, disableExperimentalSEAWarning: true }))
  run(process.execPath, ['--experimental-sea-config', config], {
    cwd: directory,
    env: { PATH: process.env.PATH },
  })
  return output
}

function makeExecutable(path: string, blob: string): void {
  copyFileSync(process.execPath, path)
  chmodSync(path, 0o755)
  const isMac = process.platform === 'darwin'
  if (isMac) run('codesign', ['--remove-signature', path])
  else strip(path)
  const options = ['--sentinel-fuse', FUSE, ...(isMac ? ['--macho-segment-name', 'NODE_SEA'] : [])]
  run(process.execPath, [require.resolve('postject/dist/cli.js'), path, 'NODE_SEA_BLOB', blob, ...options])
  if (isMac) run('codesign', ['--sign', '-', path])
}

/** Removes the symbols of a native file, if this machine can do so. */
function strip(path: string): void {
  if (process.platform !== 'linux') return
  try {
    run('strip', [path])
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    process.stderr.write('The file is larger than it has to be: install binutils, which has strip.\n')
  }
}

/** @throws Error with what the command has written to standard error */
function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): void {
  const { status, stderr, error } = spawnSync(command, args, {
    ...options,
    encoding: 'utf8',
    timeout: RUN_MS_MAX,
  })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(`${command} ${args[0]} failed:\n${stderr.slice(-2_000)}`)
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  await new Promise(closed => server.close(closed))
  return port
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = process.argv[2] ?? join(ROOT, 'dist', `frequency-${process.platform}-${process.arch}`)
  const { path, bytes, hasEngine } = await buildBinary(resolve(file))
  const engine = hasEngine
    ? 'with DuckDB'
    : 'without DuckDB, which is not installed: query and compact will not run'
  process.stdout.write(`${path}: ${(bytes / 1e6).toFixed(1)} MB, ${engine}\n`)
}
