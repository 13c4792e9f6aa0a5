/**
 * Root file systems made of Debian packages that are installed on this machine. They stand for the base images where no
 * registry can be reached.
 */
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

const LIBRARIES = ['base-files', 'libc6', 'libgcc-s1', 'libstdc++6']
/** Beside Node itself, all that the build stage calls. */
const TOOLS = ['coreutils', 'dash', 'binutils']
/** Debian links these directories to those in /usr. */
const MERGED = ['bin', 'lib', 'lib64', 'sbin']
const NOT_NEEDED = /^\/usr\/share\/(?:doc|info|lintian|locale|man)\//
const NODE_PREFIX = '/usr/local'
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

/** Stands for gcr.io/distroless/cc-debian13: a C library, no shell, and the users root and nonroot. */
export function makeRuntimeTree(root: string): void {
  makeTree(root, LIBRARIES)
}

/** Stands for node:24-trixie: the Node and npm that run the tests, a shell and `strip`. */
export function makeBuildTree(root: string): void {
  makeTree(root, [...LIBRARIES, ...TOOLS])
  copyInto(root, join(NODE_PREFIX, 'bin', 'node'), process.execPath)
  const npm = dirname(dirname(realpathSync(pathOf('npm'))))
  const modules = join(NODE_PREFIX, 'lib', 'node_modules')
  mkdirSync(join(root, modules), { recursive: true })
  execFileSync('cp', ['-a', npm, join(root, modules, 'npm')])
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, NODE_PREFIX, 'bin', 'npm'))
}

function makeTree(root: string, names: readonly string[]): void {
  for (const directory of MERGED) {
    mkdirSync(join(root, 'usr', directory), { recursive: true })
    symlinkSync(join('usr', directory), join(root, directory))
  }
  for (const directory of ['dev', 'proc', 'sys', 'etc', 'root']) mkdirSync(join(root, directory))
  mkdirSync(join(root, 'tmp'))
  execFileSync('chmod', ['1777', join(root, 'tmp')])
  const paths = filesOf(withDependencies(names)).map(path => `.${path}`)
  const list = Buffer.from(paths.join('\0'))
  const archive = execFileSync('tar', ['-C', '/', '-c', '--no-recursion', '--null', '-T', '-', '-f', '-'], {
    input: list,
    maxBuffer: 16 * OUTPUT_BYTES_MAX,
  })
  execFileSync('tar', ['-C', root, '-x', '-f', '-'], { input: archive })
  writeFileSync(
    join(root, 'etc', 'passwd'),
    'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n',
  )
}

/** @returns installed packages with all that they depend on; of alternatives the first */
function withDependencies(names: readonly string[]): string[] {
  const found = new Set<string>()
  const left = [...names]
  for (let name = left.pop(); name !== undefined; name = left.pop()) {
    if (found.has(name)) continue
    const dependencies = dependenciesOf(name)
    if (dependencies === undefined) continue
    found.add(name)
    left.push(...dependencies)
  }
  return [...found].sort()
}

/** @returns undefined if no package of that name is installed */
function dependenciesOf(name: string): string[] | undefined {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query fills it in.
  const format = '${db:Status-Status}|${Pre-Depends}, ${Depends}'
  try {
    const text = execFileSync('dpkg-query', ['-W', '-f', format, name], { encoding: 'utf8', stdio: 'pipe' })
    const [status, list = ''] = text.split(/\|(.*)/s)
    if (status !== 'installed') return undefined
    return list.split(',').flatMap(each => /^\s*([\w.+-]+)/.exec(each)?.[1] ?? [])
  } catch {
    return undefined
  }
}

/** @returns the files and links of the packages, by their paths without links to directories */
function filesOf(packages: readonly string[]): string[] {
  const text = execFileSync('dpkg-query', ['-L', ...packages], {
    encoding: 'utf8',
    maxBuffer: OUTPUT_BYTES_MAX,
  })
  const paths = text
    .split('\n')
    .filter(path => path.startsWith('/') && !NOT_NEEDED.test(path) && isFile(path))
  return [...new Set(paths.map(path => join(realpathSync(dirname(path)), path.slice(path.lastIndexOf('/')))))]
}

function isFile(path: string): boolean {
  const stats = existsSync(dirname(path)) ? lstatSync(path, { throwIfNoEntry: false }) : undefined
  return stats !== undefined && (stats.isFile() || stats.isSymbolicLink())
}

function copyInto(root: string, path: string, source: string): void {
  mkdirSync(join(root, dirname(path)), { recursive: true })
  writeFileSync(join(root, path), readFileSync(source), { mode: 0o755 })
}

function pathOf(command: string): string {
  return execFileSync('sh', ['-c', `command -v ${command}`], { encoding: 'utf8' }).trim()
}
