/** Collects the files that the executable has in itself. Their names are those that the sources ask for. */

import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { brotliCompress, constants } from 'node:zlib'
import { ENGINE_FILES, type EngineFiles } from '../src/query/engine-addon.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const require = createRequire(import.meta.url)
const PAGE_FILES = ['uplot/dist/uPlot.iife.min.js', 'uplot/dist/uPlot.min.css']
/** Of DuckDB's library (71 MB) this makes 18 MB in seconds. The highest quality makes 17 MB in minutes. */
const QUALITY = 6
const WINDOW_BITS = 24

/** Names of assets, and the paths of their files. */
export type Assets = Record<string, string>

export class AssetCollector {
  readonly assets: Assets = {}
  readonly #directory: string
  #count = 0

  /** @param directory for files that are made */
  constructor(directory: string) {
    this.#directory = directory
  }

  add(name: string, bytes: string | Uint8Array): void {
    const path = join(this.#directory, `asset-${this.#count++}`)
    writeFileSync(path, bytes)
    this.assets[name] = path
  }

  /** The live page, the version, and the files of the API reference. */
  async addPages(): Promise<void> {
    const { name, version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    this.add('package.json', JSON.stringify({ name, version }))
    for (const file of readdirSync(join(ROOT, 'ui'))) this.assets[`ui/${file}`] = join(ROOT, 'ui', file)
    for (const file of PAGE_FILES) this.assets[file] = require.resolve(file)
    const directory = join(dirname(require.resolve('@fastify/swagger-ui')), 'static')
    // The page loads neither this script nor the template.
    const unused = ['csp.json', 'index.html', 'swagger-ui.js']
    const names = readdirSync(directory).filter(each => !unused.includes(each))
    for (const each of names)
      this.add(`swagger-ui/${each}`, await compressed(readFileSync(join(directory, each))))
    this.add('swagger-ui/files.json', JSON.stringify(names))
  }

  /** @param strip makes a native file smaller, in place of it */
  async addEngine(engine: EngineSource, strip: (path: string) => void): Promise<void> {
    const files: { name: string; sha256: string }[] = []
    for (const name of engine.names) {
      const path = join(this.#directory, name)
      writeFileSync(path, readFileSync(join(engine.directory, name)))
      strip(path)
      const bytes = readFileSync(path)
      files.push({ name, sha256: createHash('sha256').update(bytes).digest('hex') })
      this.add(`engine/${name}`, await compressed(bytes))
    }
    const list: EngineFiles = { addon: engine.names.find(name => name.endsWith('.node')) as string, files }
    this.add(ENGINE_FILES, JSON.stringify(list))
  }
}

export interface EngineSource {
  readonly directory: string
  /** Of its native files. */
  readonly names: readonly string[]
}

/** @returns where npm has installed DuckDB's native files for this platform; undefined if it has not */
export function installedEngine(): EngineSource | undefined {
  const packages = join(ROOT, 'node_modules', '@duckdb')
  if (!existsSync(join(packages, 'node-api'))) return undefined
  const [name] = readdirSync(packages).filter(each =>
    each.startsWith(`node-bindings-${process.platform}-${process.arch}`),
  )
  if (name === undefined) return undefined
  const directory = join(packages, name)
  return { directory, names: readdirSync(directory).filter(each => /\.(?:node|so|dylib|dll)$/.test(each)) }
}

function compressed(bytes: Uint8Array): Promise<Buffer> {
  return promisify(brotliCompress)(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: QUALITY,
      [constants.BROTLI_PARAM_LGWIN]: WINDOW_BITS,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  })
}
