/**
 * Finds the servers that the tests need. As root on Debian or Ubuntu, missing ones are installed. Elsewhere, set the
 * environment variable `TEST_SERVERS_PATH` to the directories of their binaries, separated by colons; they are
 * searched before PATH.
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
  // Tools, not servers: tests change the clock of the program, make its system calls fail, and send it requests.
  { name: 'faketime', binaries: ['faketime'] },
  { name: 'strace', binaries: ['strace'] },
  { name: 'curl', binaries: ['curl'] },
]

/** For tests of pages. */
export const BROWSER_PACKAGES: readonly ServerPackage[] = [{ name: 'chromium', binaries: ['chromium'] }]

/** For tests of the image. */
export const BUILD_PACKAGES: readonly ServerPackage[] = [
  { name: 'buildah', binaries: ['buildah'] },
  { name: 'binutils', binaries: ['strip'] },
  { name: 'iproute2', binaries: ['ip'] },
  { name: 'curl', binaries: ['curl'] },
]

/** For tests of the alert rules. */
export const ALERT_PACKAGES: readonly ServerPackage[] = [{ name: 'prometheus', binaries: ['promtool'] }]

/** For tests of the units. */
export const SYSTEMD_PACKAGES: readonly ServerPackage[] = [
  {
    name: 'systemd',
    binaries: ['systemd-analyze', 'systemd-notify', 'systemd-sysusers', 'systemd-tmpfiles'],
  },
]

/** For tests of the Debian package: a machine with a systemd of its own, and what builds the package. */
export const MACHINE_PACKAGES: readonly ServerPackage[] = [
  { name: 'mmdebstrap', binaries: ['mmdebstrap'] },
  { name: 'systemd-container', binaries: ['systemd-nspawn'] },
  { name: 'dpkg-dev', binaries: ['dpkg-shlibdeps'] },
  { name: 'util-linux', binaries: ['nsenter', 'setpriv'] },
]

const APT_TIMEOUT_MS = 600_000
const APT_OUTPUT_BYTES_MAX = 64 * 1024 * 1024
const POLICY_FILE = '/usr/sbin/policy-rc.d'
/** apt-get waits for dpkg's lock, but not for the lock of its package lists. Without this lock, two installations at the same time would fail. */
const LOCK_FILE = '/var/lib/apt/frequency-tests.lock'
const run = promisify(execFile)

/**
 * Makes sure that every binary of `packages` can be found, and installs missing packages.
 * @param packages default: RabbitMQ, the Ceph daemons and the tools of the tests
 * @throws Error that names the packages to install, or with the output of apt-get if that failed
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

// Debian puts rabbitmqctl into sbin, which is not in the PATH of an ordinary user.
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

// Debian's wrapper script runs only for root, and switches to the user rabbitmq, who may not write to the directories
// of a test. The scripts that the wrapper calls are in the same directory, and do neither.
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

// Without a policy file, Debian's packages start a broker on the standard ports. An existing policy file is not
// changed.
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
