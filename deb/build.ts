/**
 * Makes `dist/frequency_<version>_<architecture>.deb` of the single executable, without root.
 *
 *     npm run deb [-- EXECUTABLE]
 *
 * Builds the executable first if none is named. DEBFULLNAME and DEBEMAIL name the maintainer, as for Debian's own tools.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { buildBinary } from '../binary/build.ts'
import { controlFile, debianArchitecture, debianVersion } from './control.ts'
import { manualPage } from './manual-page.ts'
import { settingsFiles } from './settings-files.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const HERE = join(ROOT, 'deb')
const UNITS = join(ROOT, 'ops', 'systemd')
const DOCUMENTS = 'usr/share/doc/frequency'
const SETTINGS = 'etc/frequency'
const MAINTAINER = `${process.env.DEBFULLNAME ?? 'the frequency authors'} <${process.env.DEBEMAIL ?? 'frequency@example.invalid'}>`

export interface Deb {
  /** Of the executable. Its licenses are beside it. */
  readonly executable: string
  /** As in package.json. */
  readonly version: string
  /** Of dpkg-deb. Debian's archive tools take xz, and not zstd. @default xz, which takes up to three minutes */
  readonly compression?: 'xz' | 'none'
}

/** @param directory takes the file. @returns its path */
export function buildDeb(directory: string, { executable, version, compression = 'xz' }: Deb): string {
  const architecture = debianArchitecture()
  const path = join(directory, `frequency_${debianVersion(version)}_${architecture}.deb`)
  mkdirSync(directory, { recursive: true })
  const tree = mkdtempSync(join(directory, 'deb-'))
  try {
    chmodSync(tree, 0o755)
    const changedAt = changeTime()
    addFiles(tree, executable, version, new Date(changedAt * 1000))
    const field = { version: debianVersion(version), architecture, maintainer: MAINTAINER }
    add(tree, 'DEBIAN/control', controlFile(tree, executable, field))
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(changedAt) }
    execFileSync('dpkg-deb', ['--root-owner-group', `-Z${compression}`, '--build', tree, path], {
      env,
      stdio: 'pipe',
    })
    return path
  } finally {
    rmSync(tree, { recursive: true, force: true })
  }
}

function addFiles(tree: string, executable: string, version: string, changed: Date): void {
  addExecutable(tree, executable)
  for (const name of readdirSync(UNITS).filter(each => each.endsWith('.service')))
    add(tree, `usr/lib/systemd/system/${name}`, readFileSync(join(UNITS, name)))
  add(tree, 'usr/lib/sysusers.d/frequency.conf', readFileSync(join(UNITS, 'frequency.sysusers')))
  add(tree, 'usr/lib/tmpfiles.d/frequency.conf', readFileSync(join(UNITS, 'frequency.tmpfiles')))
  const settings = Object.entries(settingsFiles())
  for (const [name, text] of settings) add(tree, `${SETTINGS}/${name}`, text, 0o640)
  add(tree, 'DEBIAN/conffiles', settings.map(([name]) => `/${SETTINGS}/${name}\n`).join(''))
  for (const name of readdirSync(join(HERE, 'scripts')))
    add(tree, `DEBIAN/${name}`, readFileSync(join(HERE, 'scripts', name)), 0o755)
  add(tree, 'usr/share/man/man1/frequency.1.gz', gzipped(manualPage(version, changed)))
  add(tree, 'usr/share/lintian/overrides/frequency', readFileSync(join(HERE, 'lintian-overrides')))
  addDocuments(tree, executable, version, changed)
}

/** A link if the file system allows it: the executable is large. */
function addExecutable(tree: string, executable: string): void {
  const path = join(tree, 'usr/bin/frequency')
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  try {
    linkSync(executable, path)
  } catch {
    copyFileSync(executable, path)
  }
  chmodSync(path, 0o755)
}

function addDocuments(tree: string, executable: string, version: string, changed: Date): void {
  add(tree, `${DOCUMENTS}/copyright`, copyright())
  add(tree, `${DOCUMENTS}/changelog.gz`, gzipped(readFileSync(join(ROOT, 'CHANGELOG.md'))))
  add(tree, `${DOCUMENTS}/changelog.Debian.gz`, gzipped(changelog(version, changed)))
  add(tree, `${DOCUMENTS}/systemd.md.gz`, gzipped(readFileSync(join(ROOT, 'docs', 'systemd.md'))))
  add(tree, `${DOCUMENTS}/licenses.txt.gz`, gzipped(readFileSync(`${executable}-licenses.txt`)))
}

function add(tree: string, name: string, content: string | Uint8Array, mode = 0o644): void {
  const path = join(tree, name)
  let directory = dirname(path)
  mkdirSync(directory, { recursive: true })
  // Whatever the umask of this process is.
  for (; directory !== tree; directory = dirname(directory)) chmodSync(directory, 0o755)
  writeFileSync(path, content)
  chmodSync(path, mode)
}

/** Without a time in its head, so that two builds are the same. */
function gzipped(content: string | Uint8Array): Uint8Array {
  return gzipSync(content, { level: 9 })
}

function copyright(): string {
  const license = readFileSync(join(ROOT, 'LICENSE'), 'utf8')
  const [, holder] = /^Copyright \(c\) (.+)$/m.exec(license) ?? []
  if (holder === undefined) throw new Error('LICENSE names no holder of the copyright.')
  const text = license
    .trim()
    .split('\n')
    .slice(4)
    .map(line => (line === '' ? ' .' : ` ${line}`))
    .join('\n')
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: frequency
Comment: The executable contains Node.js, DuckDB and packages from npm.
 /${DOCUMENTS}/licenses.txt.gz has their licenses.

Files: *
Copyright: ${holder}
License: Expat

License: Expat
${text}
`
}

function changelog(version: string, changed: Date): string {
  const date = changed.toUTCString().replace('GMT', '+0000')
  return `frequency (${debianVersion(version)}) stable; urgency=medium

  * Version ${version}: changelog.gz says what is new.

 -- ${MAINTAINER}  ${date}
`
}

/** Seconds since 1970. The time of the last commit, or without git of the change log, so that two builds are the same. */
function changeTime(): number {
  const given = Number(process.env.SOURCE_DATE_EPOCH)
  if (given > 0) return given
  // The checkout may be that of another user, as with sudo.
  const args = ['-c', `safe.directory=${ROOT.replace(/\/$/, '')}`, 'log', '-1', '--format=%ct']
  const { status, stdout } = spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' })
  return status === 0 ? Number(stdout) : Math.floor(statSync(join(ROOT, 'CHANGELOG.md')).mtimeMs / 1000)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dist = join(ROOT, 'dist')
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const built = join(dist, `frequency-${process.platform}-${process.arch}`)
  const executable =
    process.argv[2] === undefined ? (await buildBinary(built)).path : resolve(process.argv[2])
  process.stdout.write(`${buildDeb(dist, { executable, version })}\n`)
}
