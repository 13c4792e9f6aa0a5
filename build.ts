/**
 * Builds the program into `dist`: `bin/frequency.js`, the package's `plugins/frequency.js`, the chunks that it loads at a start or on demand, and the
 * files of the page at `/`. Only TypeBox is bundled: it would be 249 small modules at every start. Other packages stay as
 * they are.
 */
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { buildTypes } from './build-types.ts'

const ROOT = fileURLToPath(new URL('.', import.meta.url))
/** Many small modules, which would be read one by one. */
const INLINED = ['@sinclair/typebox', '@duckdb/node-api']

/** False for an optional dependency that was left out (`npm ci --omit=optional`). */
function isInstalled(name: string): boolean {
  return existsSync(new URL(`node_modules/${name}`, import.meta.url))
}

/** @param directory is emptied first; source files that look for others find them from `bin` and `chunks` in it */
export async function buildProgram(directory: string): Promise<void> {
  const { dependencies, optionalDependencies } = JSON.parse(
    readFileSync(new URL('package.json', import.meta.url), 'utf8'),
  )
  rmSync(directory, { recursive: true, force: true })
  await build({
    absWorkingDir: ROOT,
    entryPoints: ['bin/frequency.ts', 'plugins/frequency.ts'],
    outbase: '.',
    outdir: directory,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    external: [...Object.keys({ ...dependencies, ...optionalDependencies }), '@duckdb/node-bindings'].filter(
      name => !INLINED.includes(name) || !isInstalled(name),
    ),
    sourcemap: true,
    logLevel: 'warning',
  })
  cpSync(join(ROOT, 'ui'), join(directory, 'ui'), { recursive: true })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildProgram(join(ROOT, 'dist'))
  buildTypes(join(ROOT, 'dist'))
}
