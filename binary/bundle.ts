/**
 * The program as one CommonJS script, with all packages in it: in a single executable `require()` finds only Node's own
 * modules (https://nodejs.org/docs/latest-v20.x/api/single-executable-applications.html).
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** Ours, for late loading. Without this line esbuild sees what `require()` loads, and puts it into the bundle. */
const OWN_REQUIRE = /^const require = createRequire\(import\.meta\.url\)$/m

/** Packages that look for files on disk, by what stands for them in the executable. */
const REPLACED = {
  '@fastify/static': 'binary/static-files.ts',
  '@duckdb/node-bindings': 'binary/engine-bindings.cjs',
}

const replaceFileReaders: Plugin = {
  name: 'replace file readers',
  setup({ onLoad, onResolve }) {
    for (const [name, file] of Object.entries(REPLACED))
      onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: join(ROOT, file) }))
    onLoad({ filter: /[\\/](?:src|plugins)[\\/].*\.ts$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8')
      return OWN_REQUIRE.test(text) ? { contents: text.replace(OWN_REQUIRE, ''), loader: 'ts' } : undefined
    })
  },
}

export interface Bundle {
  /** In ASCII. */
  readonly script: string
  /** The packages in it, by their directories below node_modules. */
  readonly packages: readonly string[]
}

/** @param hasEngine false if DuckDB is not installed */
export async function bundleProgram(hasEngine: boolean): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: ['bin/frequency.ts'],
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20.19',
    // ES modules where a package has both: what is not used of them is left out.
    mainFields: ['module', 'main'],
    // A script in a single executable has no `import()`.
    supported: { 'dynamic-import': false },
    external: hasEngine ? [] : ['@duckdb/node-api'],
    define: { 'import.meta.url': 'ownUrl' },
    banner: { js: "const ownUrl = require('node:url').pathToFileURL(process.execPath).href;" },
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    plugins: [replaceFileReaders],
    write: false,
    metafile: true,
    logLevel: 'warning',
  })
  const packages = Object.keys(metafile.inputs).flatMap(
    path => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? [],
  )
  const text = outputFiles[0]?.text ?? ''
  return { script: text.replace(/^#!.*/, ''), packages: [...new Set(packages)].sort() }
}
