/** Checks the rules of docs/architecture.md for imports: which folder may import which, and no circles. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const LINES_MAX = 400

/** The folders that each folder of `src` may import, besides itself and `src/errors.ts`. Lowest first. */
const ALLOWED_IMPORTS: Readonly<Record<string, readonly string[]>> = {
  process: [],
  event: [],
  config: ['event'],
  http: ['process', 'event', 'config'],
  segment: ['event', 'config', 'http'],
  store: ['process', 'config'],
  object: ['config', 'store'],
  dedupe: ['process', 'event'],
  log: ['process', 'event', 'store', 'object', 'dedupe'],
  queue: ['process', 'event', 'config'],
  suppression: ['process', 'event', 'store'],
  archive: ['process', 'event', 'config', 'store', 'object', 'dedupe', 'log', 'queue', 'suppression'],
  observability: ['process', 'config', 'store', 'log', 'queue', 'archive'],
  table: ['process', 'config', 'store'],
  query: ['process', 'event', 'config', 'store', 'object', 'log', 'segment', 'table'],
  background: ['process', 'config'],
  compact: ['process', 'config', 'store', 'query', 'table'],
  erase: ['process', 'event', 'config', 'store', 'object', 'dedupe', 'log', 'query', 'table'],
  replay: ['process', 'event', 'config', 'store', 'log', 'queue', 'query', 'table'],
  expire: ['process', 'event', 'store', 'object', 'dedupe', 'log', 'query', 'table', 'erase'],
  live: ['process', 'event', 'config', 'queue', 'archive', 'observability'],
  cli: [
    'process',
    'event',
    'config',
    'store',
    'object',
    'dedupe',
    'log',
    'queue',
    'archive',
    'observability',
    'live',
    'query',
    'table',
    'compact',
    'erase',
    'replay',
    'expire',
    'suppression',
  ],
}

/** Contracts, and the files that implement or open them. A contract imports none of these files. */
const CONTRACTS = {
  'src/store/store.ts': /^src\/store\/(?:open-|s3|directory)/,
  'src/queue/queue.ts': /^src\/queue\/(?:open-|grouping-|group-|spooled|rabbitmq\/|embedded\/)/,
  'src/queue/dead-letters.ts': /^src\/queue\/(?:open-|rabbitmq\/|embedded\/)/,
  'src/dedupe/id-index.ts': /^src\/dedupe\/(?:open-|disk-)/,
}

const sources = ['src', 'plugins', 'bin'].flatMap(directory =>
  readdirSync(join(ROOT, directory), { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.ts'))
    .map(entry => relative(ROOT, join(entry.parentPath, entry.name))),
)
const imports = new Map(sources.map(file => [file, importsOf(file)]))

/** @returns the files of this project that a file imports, also for types only */
function importsOf(file: string): string[] {
  const specifiers = textOf(file).matchAll(/(?:\bfrom|\bimport\(|^import)\s*'(\.[^']+)'/gm)
  return Array.from(specifiers, ([, specifier = '']) => normalize(join(dirname(file), specifier)))
}

function textOf(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

function folderOf(file: string): string | undefined {
  return /^src\/([^/]+)\//.exec(file)?.[1]
}

/** @returns the files of a circle of imports; undefined if there is no circle */
function circle(): string[] | undefined {
  const done = new Set<string>()
  const walk = (file: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
    if (done.has(file)) return undefined
    for (const imported of imports.get(file) ?? []) {
      const found = walk(imported, [...path, file])
      if (found !== undefined) return found
    }
    done.add(file)
    return undefined
  }
  for (const file of sources) {
    const found = walk(file, [])
    if (found !== undefined) return found
  }
  return undefined
}

test('each folder of src imports only the folders that it may', async t => {
  t.same(new Set(sources.flatMap(file => folderOf(file) ?? [])), new Set(Object.keys(ALLOWED_IMPORTS)))
  for (const file of sources) {
    const folder = folderOf(file)
    const allowed = folder === undefined ? [] : [...(ALLOWED_IMPORTS[folder] as string[]), folder]
    const wrong = (imports.get(file) as string[]).filter(imported => {
      if (file.startsWith('bin/') || imported === 'src/errors.ts') return false
      if (file.startsWith('plugins/')) return imported.startsWith('bin/') || folderOf(imported) === 'cli'
      return !allowed.includes(folderOf(imported) ?? imported)
    })
    t.same(wrong, [], `${file} imports ${wrong.join(', ') || 'nothing else'}`)
  }
})

test('a folder imports only folders that are listed before it', async t => {
  const folders = Object.keys(ALLOWED_IMPORTS)
  for (const [folder, allowed] of Object.entries(ALLOWED_IMPORTS))
    for (const other of allowed)
      t.ok(folders.indexOf(other) < folders.indexOf(folder), `${other} is below ${folder}`)
})

test('no files import each other in a circle, not even types', async t => {
  t.same(circle(), undefined)
})

test('a contract imports no implementation, and no file that opens one', async t => {
  for (const [contract, implementation] of Object.entries(CONTRACTS)) {
    t.ok(sources.some(file => implementation.test(file)))
    t.same(
      imports.get(contract)?.filter(file => implementation.test(file)),
      [],
      contract,
    )
  }
})

test('every imported file exists', async t => {
  for (const [file, imported] of imports)
    t.same(
      imported.filter(each => !sources.includes(each)),
      [],
      file,
    )
})

test('docs/architecture.md names every folder', async t => {
  const text = textOf('docs/architecture.md')
  for (const folder of Object.keys(ALLOWED_IMPORTS)) t.ok(text.includes(`\`src/${folder}/\``), folder)
})

test(`no file is longer than ${LINES_MAX} lines`, async t => {
  for (const file of sources) t.ok(textOf(file).split('\n').length <= LINES_MAX + 1, file)
})
