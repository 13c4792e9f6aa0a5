/** The licenses of the packages in the executable. Most of them ask for their text to go with copies. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Not bundled by esbuild, but in the executable: DuckDB's native part, and the pages of the API reference. */
const UNBUNDLED = [
  'node_modules/@duckdb/node-bindings',
  'node_modules/uplot',
  'node_modules/@fastify/swagger-ui',
]
const LICENSE_FILE = /^(?:licen[cs]e|copying|notice)/i
const HEAD = `This executable contains Node.js (https://github.com/nodejs/node/blob/main/LICENSE), swagger-ui (Apache-2.0,
https://github.com/swagger-api/swagger-ui) and these packages.
`

/** @param bundled what esbuild has bundled. @returns all packages in the executable */
export function packagesOf(bundled: readonly string[]): string[] {
  const unbundled = UNBUNDLED.filter(directory => existsSync(join(ROOT, directory)))
  return [...new Set([...bundled, ...unbundled])].sort()
}

/** @param packages their directories, which are relative to the root of the project */
export function licensesOf(packages: readonly string[]): string {
  return [HEAD, ...packages.map(licenseOf)].join(`\n${'-'.repeat(80)}\n\n`)
}

function licenseOf(packageDirectory: string): string {
  const directory = join(ROOT, packageDirectory)
  const { name, version, license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'))
  const files = readdirSync(directory).filter(file => LICENSE_FILE.test(file))
  const texts = files.map(file => readFileSync(join(directory, file), 'utf8'))
  return [`${name} ${version}: ${license ?? 'see below'}\n`, ...texts].join('\n')
}
