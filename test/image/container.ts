/**
 * A container without an engine: the root file system of an image, read-only, with the user, the environment and the
 * command of the image, as the first process of its own namespaces.
 */
import { execFileSync } from 'node:child_process'
import type { Test } from 'tap'
import { Child } from '../services/child-process.ts'
import { firstChildOf } from '../services/first-child.ts'
import { Program } from '../services/program.ts'
import type { Image } from './built-image.ts'

/** $1 is the root, $2 the volume and $3 where it is mounted. The other arguments are the command. */
const SET_UP = `
set -e
root=$1; volume=$2; at=$3; shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$volume" "$root$at"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755,size=64k tmpfs "$root/dev"
for device in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "$root/dev/\${device%:*}" c 1 "\${device#*:}"
done
ip link set lo up 2> /dev/null || true
exec "$@"
`
const NAMESPACES = ['--mount', '--pid', '--ipc', '--uts']

export interface ContainerOptions {
  /** After the entrypoint. @default the command of the image */
  readonly args?: readonly string[]
  /** Besides that of the image. */
  readonly env?: NodeJS.ProcessEnv
  /** Directory that is mounted at the volume of the image. */
  readonly volume: string
  /** Whether it has a network of its own, with a loopback interface alone. @default that of this machine */
  readonly hasOwnNetwork?: boolean
}

export class Container extends Program {
  readonly #image: Image
  readonly #env: readonly string[]

  constructor(image: Image, options: ContainerOptions) {
    const { config, root } = image
    const { args = config.Cmd, env = {}, volume, hasOwnNetwork = false } = options
    const [entrypoint = '', ...first] = config.Entrypoint
    const [at = ''] = Object.keys(config.Volumes)
    const namespaces = [...NAMESPACES, ...(hasOwnNetwork ? ['--net'] : [])]
    const variables = [...config.Env, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)]
    super(entrypoint, {
      name: 'the container',
      isExecutable: true,
      under: [
        ...['unshare', ...namespaces, '--fork', '--kill-child', '--propagation=private'],
        ...['sh', '-c', SET_UP, 'sh', root, volume, at],
        ...['setpriv', '--no-new-privs', 'env', '-i', ...variables],
        ...['/usr/bin/unshare', `--root=${root}`, `--wd=${config.WorkingDir}`, ...asUser(config.User), '--'],
      ],
      args: [...first, ...args],
      cwd: '/',
    })
    this.#image = image
    this.#env = variables
  }

  /** The process in the container, as this machine sees it; undefined if it has ended. */
  get firstPid(): number | undefined {
    return firstChildOf(this.pid)
  }

  /** Sends the signal to the first process, as an engine does. */
  override kill(signal: NodeJS.Signals): this {
    const pid = this.firstPid
    if (pid === undefined) return super.kill(signal)
    process.kill(pid, signal)
    return this
  }

  /** Runs a command of the image in the running container, as `docker exec` does. */
  run(t: Test, command: readonly string[]): Child {
    const { config } = this.#image
    const child = new Child({
      name: command.join(' '),
      command: 'env',
      args: [
        ...['-i', ...this.#env, '/usr/bin/nsenter', `--target=${this.firstPid}`, '--mount', '--pid', '--net'],
        ...['--root', '--wd', ...asUser(config.User), '--', ...command],
      ],
      env: { PATH: process.env.PATH },
      cwd: '/',
    })
    t.teardown(() => child.kill('SIGKILL').ended)
    return child
  }

  /** Runs a command of this machine in the network of the container. @returns its standard output */
  fromNetwork(command: string, ...args: string[]): string {
    return execFileSync('nsenter', [`--target=${this.firstPid}`, '--net', '--', command, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    })
  }
}

/** Starts a container, and kills it at the end of the test if it still runs. */
export function startContainer(t: Test, image: Image, options: ContainerOptions): Container {
  const container = new Container(image, options)
  t.teardown(() => container.kill('SIGKILL').ended)
  return container
}

/** @param user `number:number` @throws Error if it is a name, or root */
function asUser(user: string): string[] {
  const [, uid, gid] = /^([1-9]\d*):([1-9]\d*)$/.exec(user) ?? []
  if (uid === undefined)
    throw new Error(`The image runs as ${JSON.stringify(user)}, which is not a number of a user`)
  return [`--setuid=${uid}`, `--setgid=${gid}`]
}
