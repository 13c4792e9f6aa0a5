/**
 * Finds the servers that the tests run against, and installs them where that is possible: as root on
 * Debian or Ubuntu. Elsewhere the directories of their binaries go into the environment variable
 * `TEST_SERVERS_PATH`, separated by colons; they are searched before PATH.
 */
import { execFile } from 'node:child_process'
import { accessSync, constants, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'

/** A Debian package and the binaries that the tests need from it. */
export interface ServerPackage {
  name: string
  binaries: readonly string[]
}

export const SERVER_PACKAGES: readonly ServerPackage[] = [
  { name: 'rabbitmq-server', binaries: ['rabbitmq-server', 'rabbitmqctl'] },
  { name: 'erlang-base', binaries: ['epmd'] },
  { name: 'ceph-mon', binaries: ['ceph-mon'] },
  { name: 'ceph-osd', binaries: ['ceph-osd'] },
  { name: 'ceph-base', binaries: ['monmaptool'] },
  { name: 'ceph-common', binaries: ['ceph', 'radosgw-admin'] },
  { name: 'radosgw', binaries: ['radosgw'] },
  // No servers: what the tests do to the program, and call it with.
  { name: 'faketime', binaries: ['faketime'] },
  { name: 'strace', binaries: ['strace'] },
  { name: 'curl', binaries: ['curl'] },
]

/** What tests of pages need besides. */
export const BROWSER_PACKAGES: readonly ServerPackage[] = [{ name: 'chromium', binaries: ['chromium'] }]

/** What the tests of the alerts need besides. */
export const ALERT_PACKAGES: readonly ServerPackage[] = [{ name: 'prometheus', binaries: ['promtool'] }]

const APT_TIMEOUT_MS = 600_000
const APT_OUTPUT_BYTES_MAX = 64 * 1024 * 1024
const POLICY_FILE = '/usr/sbin/policy-rc.d'
/** apt-get waits for dpkg's lock, and not for that of its lists: those who install at once would fail. */
const LOCK_FILE = '/var/lib/apt/frequency-tests.lock'
const run = promisify(execFile)

/**
 * Makes sure that every binary of `packages` can be found, by installing what is missing if need be.
 * @param packages default: RabbitMQ and the Ceph daemons
 * @throws Error of one line that says what to install, or with the output of an apt-get that failed
 */
export async function ensureServers(packages: readonly ServerPackage[] = SERVER_PACKAGES): Promise<void> {
  const missing = packages.filter(isMissing)
  if (missing.length === 0) return
  const names = missing.map(({ name }) => name)
  if (process.getuid?.() !== 0 || find('apt-get') === undefined) throw new Error(advice(names))
  process.stderr.write(`Installing ${names.join(', ')} for the tests\n`)
  await install(names)
  const still = missing.filter(isMissing).map(({ name }) => name)
  if (still.length > 0) throw new Error(advice(still))
}

/**
 * The absolute path of a binary.
 * @throws Error if it is neither in `TEST_SERVERS_PATH` nor in PATH
 */
export function serverPath(name: string): string {
  const path = find(name)
  if (path === undefined) throw new Error(`${name} is not on PATH: call ensureServers() first`)
  return path
}

function isMissing({ binaries }: ServerPackage): boolean {
  return binaries.some(binary => find(binary) === undefined)
}

function advice(names: readonly string[]): string {
  return (
    `Missing test servers: install ${names.join(' ')} (Debian packages; as root they are installed for you), ` +
    'or put the directories of their binaries in TEST_SERVERS_PATH'
  )
}

function find(name: string): string | undefined {
  const path = searchPath()
    .map(directory => join(directory, name))
    .find(isExecutable)
  return path === undefined ? undefined : unwrapped(path, name)
}

// The PATH of an ordinary user lacks the sbin directories, where Debian puts rabbitmqctl.
function searchPath(): string[] {
  const { TEST_SERVERS_PATH = '', PATH = '' } = process.env
  return [...TEST_SERVERS_PATH.split(':'), ...PATH.split(delimiter), '/usr/sbin', '/sbin'].filter(Boolean)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

// Debian's wrapper becomes the user rabbitmq, who may not write to the directories of a test, and
// refuses everybody but root. The scripts that it calls are beside it and have no such wishes.
function unwrapped(path: string, name: string): string {
  const real = realpathSync(path)
  return basename(real) === 'rabbitmq-script-wrapper' ? join(dirname(real), name) : path
}

async function install(names: readonly string[]): Promise<void> {
  const restore = forbidServices()
  try {
    await apt(['update'])
    await apt(['install', '-y', '--no-install-recommends', ...names])
  } finally {
    restore()
  }
}

async function apt(args: readonly string[]): Promise<void> {
  const options = {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    timeout: APT_TIMEOUT_MS,
    maxBuffer: APT_OUTPUT_BYTES_MAX,
  }
  try {
    await run('flock', ['-F', LOCK_FILE, 'apt-get', '-o', 'DPkg::Lock::Timeout=300', ...args], options)
  } catch (err) {
    const { stdout = '', stderr = '' } = err as { stdout?: string; stderr?: string }
    throw new Error(`apt-get ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: err })
  }
}

// Without a policy Debian's packages start their own broker, on the standard ports. A policy that is
// there already belongs to whoever wrote it.
function forbidServices(): () => void {
  try {
    writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n', { flag: 'wx', mode: 0o755 })
  } catch {
    return () => {}
  }
  const restore = () => rmSync(POLICY_FILE, { force: true })
  process.once('exit', restore)
  return () => {
    process.off('exit', restore)
    restore()
  }
}
