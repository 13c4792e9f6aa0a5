/** The control file: https://www.debian.org/doc/debian-policy/ch-controlfields.html */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { installedEngine } from '../binary/assets.ts'

export interface Field {
  readonly version: string
  readonly architecture: string
  readonly maintainer: string
}

/** For the maintainer scripts, also where systemd does not run. */
const TOOLS = [
  'systemd | systemd-standalone-sysusers | systemd-sysusers',
  'systemd | systemd-standalone-tmpfiles | systemd-tmpfiles',
]
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }
const DESCRIPTION = `Description: analytics events over HTTP, archived without losing one
 frequency takes analytics events over HTTP, queues them durably, on local disk
 or on RabbitMQ, and archives them in batches, to a directory or to S3. It
 answers when an event is durable, and archives each event once.
 .
 This package has one executable, with Node.js and DuckDB in it, and units for
 systemd: frequency.service for everything in one process, and
 frequency-ingest.service and frequency-archive.service for one role each.`

/** @param tree the directory that becomes the package, complete but for its control file */
export function controlFile(tree: string, executable: string, field: Field): string {
  return `Package: frequency
Version: ${field.version}
Section: net
Priority: optional
Architecture: ${field.architecture}
Maintainer: ${field.maintainer}
Installed-Size: ${installedKibibytes(tree)}
Depends: ${[sharedLibraries(executable), ...TOOLS].join(', ')}
Suggests: rabbitmq-server
${DESCRIPTION}
`
}

/** Of an executable that this Node has built. @throws Error if Debian has no name for it that we know */
export function debianArchitecture(): string {
  const name = ARCHITECTURES[process.arch]
  if (process.platform !== 'linux' || name === undefined)
    throw new Error(
      `A Debian package is built on Linux, on x64 or arm64, and not on ${process.platform}-${process.arch}.`,
    )
  return name
}

/** @returns `0.2.0~rc.1-1` for 0.2.0-rc.1: Debian sorts a tilde before the end, so that 0.2.0 is higher */
export function debianVersion(version: string): string {
  return `${version.replace('-', '~')}-1`
}

/** By executable. */
const librariesOf = new Map<string, string>()

/** Packages of the libraries that the executable and its DuckDB need, with the lowest versions that have all symbols. */
function sharedLibraries(executable: string): string {
  const libraries = librariesOf.get(executable) ?? findLibraries(executable)
  librariesOf.set(executable, libraries)
  return libraries
}

function findLibraries(executable: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'frequency-shlibdeps-'))
  try {
    mkdirSync(join(directory, 'debian'))
    writeFileSync(
      join(directory, 'debian', 'control'),
      'Source: frequency\n\nPackage: frequency\nArchitecture: any\n',
    )
    const engine = installedEngine()
    // They find each other beside themselves, where they are unpacked, and not in a package.
    const ofEngine =
      engine === undefined
        ? []
        : [`-l${engine.directory}`, ...engine.names.map(name => `-e${join(engine.directory, name)}`)]
    const output = execFileSync(
      'dpkg-shlibdeps',
      ['-O', '--ignore-missing-info', ...ofEngine, `-e${executable}`],
      {
        cwd: directory,
        encoding: 'utf8',
        // Warnings about each symbol that Node gives to DuckDB's addon.
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    const [, depends] = /^shlibs:Depends=(.+)$/m.exec(output) ?? []
    if (depends === undefined) throw new Error(`dpkg-shlibdeps named no libraries: ${output}`)
    return depends
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** As dpkg-gencontrol counts: whole KiB for each file, and one for everything else. */
function installedKibibytes(tree: string): number {
  const entries = readdirSync(tree, { recursive: true, withFileTypes: true })
  return entries.reduce((sum, entry) => {
    const isFile = entry.isFile() && !entry.parentPath.endsWith('/DEBIAN')
    return sum + (isFile ? Math.ceil(statSync(join(entry.parentPath, entry.name)).size / 1024) : 1)
  }, 0)
}
