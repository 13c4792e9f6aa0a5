/**
 * Reads the table with ClickHouse (chdb) and Polars (nodejs-polars) too, which are 650 MB and so no dependencies:
 *
 *     npm run test:readers
 *
 * They come from the npm registry into a directory of their own, which is removed at the end. TEST_READERS_PATH names a
 * directory that has them. PyIceberg and Spark are tried if `python3` has them, or the Python that TEST_PYTHON names.
 * For Iceberg Spark needs the jar that TEST_ICEBERG_JAR names: `iceberg-spark-runtime`, from Maven Central.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Later releases of nodejs-polars have no binary for Node 20. */
const PACKAGES = ['chdb@3.4.0', 'nodejs-polars@0.24.0']
const TESTS = ['test/readers/readers.test.ts', 'test/readers/compacted-table.test.ts']

async function installed(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'frequency-readers-'))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  writeFileSync(join(directory, 'package.json'), '{"private":true}')
  process.stderr.write(`Installing ${PACKAGES.join(' and ')}\n`)
  const options = ['--no-save', '--no-package-lock', '--ignore-scripts', '--prefix', directory]
  await promisify(execFile)('npm', ['install', ...options, ...PACKAGES], { cwd: directory })
  return directory
}

if (process.platform !== 'linux' || process.arch !== 'x64')
  throw new Error('This runs on Linux on x64 with glibc: there chdb has a binary.')
const TEST_READERS_PATH = process.env.TEST_READERS_PATH ?? (await installed())
const tap = spawn(process.execPath, [join(ROOT, 'node_modules/.bin/tap'), '--disable-coverage', ...TESTS], {
  cwd: ROOT,
  stdio: 'inherit',
  env: { ...process.env, TEST_READERS_PATH },
})
const [code] = await once(tap, 'exit')
process.exitCode = code ?? 1
