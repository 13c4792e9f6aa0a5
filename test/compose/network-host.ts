/**
 * One service of compose.yaml, started by hand as a container would be: in namespaces of its own, with its own address,
 * host name, files and environment. The program is that of this machine, or of another root directory.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Child } from '../services/child-process.ts'
import { firstChildOf } from '../services/first-child.ts'
import { until } from '../services/wait.ts'

const START_MS_MAX = 20_000

/** $1 directory, $2 base, $3 address, $4 host name, $5 hosts, $6 mounts (source:target, one a line). */
const SET_UP = `
set -e
directory=$1 base=$2 address=$3 name=$4 hosts=$5 mounts=$6; shift 6
root=$directory/root
mount --make-rprivate /
hostname "$name"
mkdir -p "$root" "$directory/rw"
mount -t tmpfs tmpfs "$directory/rw"
mkdir "$directory/rw/upper" "$directory/rw/work"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$directory/rw/upper,workdir=$directory/rw/work" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
for device in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "$root/dev/\${device%:*}" c 1 "\${device#*:}"
done
mkdir -p "$root/etc"
rm -f "$root/etc/hosts" "$root/etc/resolv.conf"
printf '%s\\n' "$hosts" > "$root/etc/hosts"
echo 'nameserver 127.0.0.11' > "$root/etc/resolv.conf"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
printf '%s\\n' "$mounts" | while IFS=: read -r source target; do
  test -n "$source" || continue
  if test -d "$source"; then mkdir -p "$root$target"
  else mkdir -p "$(dirname "$root$target")"; touch "$root$target"; fi
  mount --bind "$source" "$root$target"
done
ip link set lo up
until ip link show eth0 > /dev/null 2>&1; do sleep 0.02; done
ip addr add "$address/24" dev eth0
ip link set eth0 up
exec "$@"
`

export interface HostOptions {
  readonly name: string
  readonly hostname: string
  readonly directory: string
  /** Root directory of its programs. */
  readonly base: string
  /** In the network of the bridge. */
  readonly address: string
  readonly hosts: string
  /** `source:target` each. */
  readonly mounts: readonly string[]
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>
  /** `uid:gid`. @default root */
  readonly user?: string | undefined
  readonly command: readonly string[]
}

/** Makes the network: one bridge, on which the first address is that of the caller. */
export function makeBridge(address: string): void {
  for (const command of [
    'link set lo up',
    'link add hosts type bridge',
    `addr add ${address}/24 dev hosts`,
    'link set hosts up',
  ])
    execFileSync('ip', command.split(' '))
}

export class NetworkHost extends Child {
  readonly #options: HostOptions

  static async start(options: HostOptions): Promise<NetworkHost> {
    mkdirSync(options.directory, { recursive: true })
    const host = new NetworkHost(options)
    await until(`${options.name} has a process`, START_MS_MAX, () => host.firstPid !== undefined)
    const link = `v${options.address.split('.').pop()}`
    execFileSync('ip', [
      'link',
      'add',
      link,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      `${host.firstPid}`,
    ])
    execFileSync('ip', ['link', 'set', link, 'master', 'hosts', 'up'])
    return host
  }

  private constructor(options: HostOptions) {
    const { name, hostname, directory, base, address, hosts, mounts, command } = options
    const namespaces = ['--net', '--mount', '--uts', '--ipc', '--pid', '--fork', '--kill-child']
    const setUp = ['sh', '-c', SET_UP, 'sh', directory, base, address, hostname, hosts, mounts.join('\n')]
    super({
      name,
      command: 'unshare',
      args: [...namespaces, ...setUp, ...NetworkHost.#inside(options), ...command],
      env: { PATH: process.env.PATH },
      cwd: '/',
    })
    this.#options = options
  }

  static #inside({ directory, env, user }: HostOptions): string[] {
    const [uid, gid] = user?.split(':') ?? []
    return [
      ...['env', '-i', ...Object.entries(env).map(([name, value]) => `${name}=${value}`)],
      ...['/usr/bin/unshare', `--root=${join(directory, 'root')}`],
      ...(uid === undefined ? [] : [`--setuid=${uid}`, `--setgid=${gid}`]),
      '--',
    ]
  }

  get firstPid(): number | undefined {
    return firstChildOf(this.pid)
  }

  override kill(signal: NodeJS.Signals): this {
    const pid = this.firstPid
    if (pid === undefined) return super.kill(signal)
    process.kill(pid, signal)
    return this
  }

  /** Runs a command in the running host, as `docker exec` does. @throws Error with its output if it fails */
  exec(command: readonly string[], timeoutMs = START_MS_MAX * 3): string {
    const { env, user } = this.#options
    const [uid, gid] = user?.split(':') ?? []
    const as = uid === undefined ? [] : [`--setuid=${uid}`, `--setgid=${gid}`]
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
    const enter = ['/usr/bin/nsenter', `--target=${this.firstPid}`, '--all', '--root', '--wd', ...as, '--']
    return execFileSync('env', ['-i', ...variables, ...enter, ...command], {
      encoding: 'utf8',
      stdio: 'pipe',
      timeout: timeoutMs,
    })
  }
}
