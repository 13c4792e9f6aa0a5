/**
 * RabbitMQ 4 of Debian trixie, in a root directory that debootstrap makes once. The directory is
 * `TEST_RABBITMQ4_DIR`, by default `frequency-rabbitmq4` in the directory for temporary files, and it is kept. Needs
 * Linux and root.
 *
 * Each command runs in its own mount namespace. The kernel removes the mounts when the command ends.
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { output } from './daemon.ts'
import { ensureServers } from './install.ts'
import type { Command, RabbitmqInstallation } from './rabbitmq-installation.ts'

const SUITE = 'trixie'
const MAKE_TIMEOUT_MS = 1_200_000
const SCRIPTS = '/usr/lib/rabbitmq/bin'
const PACKAGES = [
  { name: 'debootstrap', binaries: ['debootstrap'] },
  { name: 'util-linux', binaries: ['unshare', 'flock'] },
]

/** Mounts the directory for temporary files at the same path inside, so that paths of a node are the same on both sides. */
const ENTER = `
root=$0; shared=$1; shift
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$shared" "$root$shared"
exec chroot "$root" "$@"
`

/**
 * Makes the directory if it is missing, which takes about three minutes and needs a Debian mirror.
 * @throws Error if this is not Linux, if this process is not root, or with the output of debootstrap if that failed
 */
export async function ensureRabbitmq4(): Promise<RabbitmqInstallation> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    throw new Error('RabbitMQ 4 runs in a chroot: start the tests on Linux, as root.')
  await ensureServers(PACKAGES)
  const root = process.env.TEST_RABBITMQ4_DIR ?? join(tmpdir(), 'frequency-rabbitmq4')
  if (!isComplete(root)) await make(root)
  mkdirSync(join(root, tmpdir()), { recursive: true })
  return { server: inside(root, 'rabbitmq-server'), ctl: inside(root, 'rabbitmqctl') }
}

function inside(root: string, script: string): Command {
  return {
    command: 'unshare',
    args: ['--mount', 'sh', '-ec', ENTER, root, tmpdir(), `${SCRIPTS}/${script}`],
  }
}

function isComplete(root: string): boolean {
  return existsSync(join(root, SCRIPTS, 'rabbitmq-server'))
}

// Makes the directory under another name and renames it when it is complete. A lock lets only one process make it.
async function make(root: string): Promise<void> {
  const lock = `${root}.lock`
  const unfinished = `${root}.unfinished`
  process.stderr.write(`Making ${root} with debootstrap: RabbitMQ 4 for the tests\n`)
  const script =
    'test -e "$0" || { rm -rf "$1" && debootstrap --variant=minbase --include=rabbitmq-server "$2" "$1"; }'
  const complete = join(root, SCRIPTS, 'rabbitmq-server')
  await output('flock', ['-F', lock, 'sh', '-c', script, complete, unfinished, SUITE], {
    timeoutMs: MAKE_TIMEOUT_MS,
  })
  if (isComplete(root)) return
  writeFileSync(join(unfinished, 'etc/hosts'), '127.0.0.1 localhost\n')
  renameSync(unfinished, root)
  rmSync(lock, { force: true })
}
