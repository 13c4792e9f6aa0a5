/**
 * Makes the files of a release in `dist/release`, with a bill of materials for each:
 *
 *     npm run release:files [-- PART…]
 *
 * Without a part it makes all that this machine can make, and `SHA256SUMS` of all files that are there. `npm run build`
 * empties `dist`.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildBinary } from '../binary/build.ts'
import { buildDeb } from '../deb/build.ts'
import { executableBom, type Manifest, packageBom, packageSpdx } from './sbom.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SUMS = 'SHA256SUMS'

interface Release {
  readonly manifest: Manifest
  /** Takes the files. */
  readonly directory: string
}

/** In this order: packing builds `dist` anew, and the Debian package contains the executable. */
const PARTS: Readonly<Record<string, (release: Release) => void | Promise<void>>> = {
  package: makePackage,
  executable: makeExecutable,
  deb: makeDeb,
  sums: writeSums,
}

/** @param wanted names of parts. @default all */
export async function makeReleaseFiles(
  directory: string,
  wanted: readonly string[] = Object.keys(PARTS),
): Promise<void> {
  const unknown = wanted.filter(name => !(name in PARTS))
  if (unknown.length > 0)
    throw new Error(`There is no part ${unknown.join(', ')}. There are ${Object.keys(PARTS).join(', ')}.`)
  const manifest: Manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  for (const [name, make] of Object.entries(PARTS))
    if (wanted.includes(name)) await make({ manifest, directory })
}

/** What `npm publish` publishes. Packing builds `dist` first, so that no other file is in it. */
function makePackage({ manifest, directory }: Release): void {
  const packed = mkdtempSync(join(tmpdir(), 'frequency-release-'))
  try {
    const { NODE_OPTIONS, ...env } = process.env
    execFileSync('npm', ['pack', '--pack-destination', packed], {
      cwd: ROOT,
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    mkdirSync(directory, { recursive: true })
    for (const name of readdirSync(packed))
      writeFileSync(join(directory, name), readFileSync(join(packed, name)))
  } finally {
    rmSync(packed, { recursive: true, force: true })
  }
  const stem = join(directory, `${manifest.name}-${manifest.version}`)
  writeJson(`${stem}.cdx.json`, packageBom(manifest))
  writeJson(`${stem}.spdx.json`, packageSpdx(manifest))
}

async function makeExecutable({ manifest, directory }: Release): Promise<void> {
  const file = executableName(manifest)
  const { packages, hasEngine } = await buildBinary(join(directory, file))
  if (!hasEngine) throw new Error('DuckDB is not installed: run npm ci without --omit=optional.')
  writeJson(join(directory, `${file}.cdx.json`), executableBom({ manifest, file, packages, hasEngine }))
}

function executableName({ version }: Manifest): string {
  return `frequency-${version}-${process.platform}-${process.arch}`
}

/** Only Linux has Debian packages. */
function makeDeb({ manifest, directory }: Release): void {
  if (process.platform !== 'linux') return
  const executable = join(directory, executableName(manifest))
  if (!existsSync(executable))
    throw new Error(`${executable} does not exist: make the part executable first.`)
  buildDeb(directory, { executable, version: manifest.version })
}

/** In the form that `sha256sum --check` reads. */
function writeSums({ directory }: Release): void {
  const names = readdirSync(directory)
    .filter(name => name !== SUMS)
    .sort()
  if (names.length === 0) throw new Error(`${directory} has no files: make the other parts first.`)
  const lines = names.map(name => {
    const digest = createHash('sha256')
      .update(readFileSync(join(directory, name)))
      .digest('hex')
    return `${digest}  ${name}\n`
  })
  writeFileSync(join(directory, `${SUMS}.unfinished`), lines.join(''))
  renameSync(join(directory, `${SUMS}.unfinished`), join(directory, SUMS))
}

function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const directory = join(ROOT, 'dist', 'release')
  const wanted = process.argv.slice(2)
  await makeReleaseFiles(directory, wanted.length > 0 ? wanted : undefined)
  process.stdout.write(`${readdirSync(directory).join('\n')}\n`)
}
