/** Writes the types of the package: the declarations of `plugins/frequency.ts`, and of the files that these name. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('.', import.meta.url))
const ENTRY = 'plugins/frequency.ts'
/** The test runner adds hooks to every child process by NODE_OPTIONS. With them tsc does not start. */
const WITHOUT_HOOKS = ['-u', 'NODE_OPTIONS']
/** A relative import in a declaration. Its path ends in `.ts`. */
const IMPORT = /(\bfrom |\bimport\(|^import )(['"])(\.{1,2}\/[^'"]+)\.ts\2/gm

/** @param directory gets `types/`, which must not be there yet */
export function buildTypes(directory: string): void {
  const all = mkdtempSync(join(tmpdir(), 'frequency-types-'))
  try {
    const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')
    const args = [...WITHOUT_HOOKS, process.execPath, tsc, '-p', 'tsconfig.types.json', '--outDir', all]
    execFileSync('env', args, { cwd: ROOT, stdio: 'inherit' })
    copyReachable(all, join(directory, 'types'))
  } finally {
    rmSync(all, { recursive: true, force: true })
  }
}

/** Declarations keep the ending `.ts` in imports, which no reader of a package resolves: it becomes `.js`. */
function copyReachable(from: string, to: string): void {
  const found = new Set([ENTRY])
  for (const file of found) {
    const name = file.replace(/\.ts$/, '.d.ts')
    const text = readFileSync(join(from, name), 'utf8')
    for (const [, , , path] of text.matchAll(IMPORT)) found.add(normalize(join(dirname(file), `${path}.ts`)))
    mkdirSync(dirname(join(to, name)), { recursive: true })
    writeFileSync(join(to, name), text.replace(IMPORT, '$1$2$3.js$2'))
  }
}
