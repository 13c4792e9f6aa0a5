/** The npm package, packed as `npm publish` would, and installed in an empty directory. */
import { execFile } from 'node:child_process'
import { cpSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { buildProgram } from '../../build.ts'
import { buildTypes } from '../../build-types.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { ROOT } from '../services/program.ts'

export const PACKAGE_NAME = 'frequency-events'
const NOT_COPIED = /^(?:node_modules|dist|data|site|\.git|\.tap|\.bench)(?:\/|$)/
/** Packages come from npm's cache, if they are there. */
const INSTALL_OPTIONS = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']

export interface Packed {
  readonly tarball: string
  readonly files: readonly string[]
  /** Bytes. */
  readonly size: number
}

interface PackResult {
  readonly filename: string
  readonly size: number
  readonly files: readonly { readonly path: string }[]
}

/** Runs a command without the hooks that the test runner adds to child processes by NODE_OPTIONS. */
export function run(command: string, args: readonly string[], cwd: string) {
  const options = { cwd, maxBuffer: 10 * 1024 * 1024 }
  return promisify(execFile)('env', ['-u', 'NODE_OPTIONS', command, ...args], options)
}

/** Packs a copy of the checkout, so that other tests may build at the same time. */
export async function pack(t: Test): Promise<Packed> {
  const copy = temporaryDirectory(t)
  cpSync(ROOT, copy, { recursive: true, filter: path => !NOT_COPIED.test(relative(ROOT, path)) })
  await buildProgram(join(copy, 'dist'))
  buildTypes(join(copy, 'dist'))
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts'], copy)
  // An array; from npm 12 on an object by name.
  const [packed] = Object.values(JSON.parse(stdout)) as [PackResult]
  const files = packed.files.map(({ path }) => path)
  return { tarball: join(copy, packed.filename), files, size: packed.size }
}

/**
 * Installs the package in a new directory.
 *
 * @param options more options of `npm install`
 * @returns the directory
 */
export async function install(
  t: Test,
  { tarball }: Packed,
  options: readonly string[] = [],
): Promise<string> {
  const directory = temporaryDirectory(t)
  await run('npm', ['install', ...INSTALL_OPTIONS, ...options, tarball], directory)
  return directory
}

/** A block of code of a document that begins with a comment with the file's name. */
export function exampleOf(document: string, file: string): string {
  const text = readFileSync(join(ROOT, document), 'utf8')
  const blocks = Array.from(text.matchAll(/^```js\n(.*?)^```$/gms), ([, block = '']) => block)
  const found = blocks.find(block => block.startsWith(`// ${file}\n`))
  if (found === undefined) throw new Error(`${document} has no block of code that begins with // ${file}.`)
  return found
}
