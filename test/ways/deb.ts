/** The Debian package: installed by apt, upgraded, removed, purged and installed again, run by systemd. */
import { appendFileSync, linkSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Test } from 'tap'
import { buildDeb } from '../../deb/build.ts'
import { DebianMachine } from '../deb/debian-machine.ts'
import { post } from '../helpers/post.ts'
import { type Program, ROOT } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { builtBinary } from './built-binary.ts'
import type { Way } from './main-job.ts'

const UNIT = 'frequency.service'
const UNITS = [UNIT, 'frequency-ingest.service', 'frequency-archive.service']
const DATA = '/var/lib/frequency'
const SETTINGS = '/etc/frequency/env'
const RESTART_MS_MAX = 30_000
/** Follows the log of a unit, stops the unit on SIGTERM, and exits with the code of its main process. SIGINT ends this alone. */
const SERVE = `
unit=$1
log() { journalctl --output=cat --no-pager "$@"; }
systemctl start "$unit" || { log --unit="$unit"; exit 1; }
invocation=_SYSTEMD_INVOCATION_ID=$(systemctl show --value --property=InvocationID "$unit")
trap 'systemctl stop "$unit"' TERM
journalctl --output=cat --follow --lines=all "$invocation" &
log=$!
trap 'kill "$log"; exit 1' INT
wait "$log"
kill "$log"
journalctl --sync
log "$invocation"
exit "$(systemctl show --value --property=ExecMainStatus "$unit")"
`
/** How docs/systemd.md says that a command runs with the settings of a unit. */
const AS_UNIT = [
  'systemd-run --quiet --pipe --collect',
  '--property=User=frequency',
  `--property=EnvironmentFile=${SETTINGS}`,
  `--property=WorkingDirectory=${DATA}`,
  `--setenv=DATA_DIR=${DATA} frequency "$@"`,
].join(' ')

export async function deb(t: Test): Promise<Way> {
  const machine = await DebianMachine.boot(t)
  const [first, second] = await packages(t, machine)
  const installed = new InstalledPackage(t, machine)
  await installed.install(first)
  await installed.isInstalled()
  await installed.upgrade(second)
  await installed.rolesApart()
  await installed.remove()
  await installed.purge()
  await installed.install(first)
  return {
    name: 'deb',
    start: (args, env = {}) => {
      if (args[0] !== 'serve') return machine.start(`${AS_UNIT}; exit $?`, args)
      installed.set(SETTINGS, env)
      return machine.start(SERVE, [UNIT])
    },
    kill: server => installed.kill(server),
  }
}

/** Two versions, in a directory of the machine. */
async function packages(t: Test, { root }: DebianMachine): Promise<[string, string]> {
  const directory = mkdtempSync(join(ROOT, '.tap', 'deb-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const executable = await builtBinary()
  const [first, second] = ['0.9.0-rc.1', '0.9.0'].map(version => {
    const path = buildDeb(directory, { executable, version, compression: 'none' })
    linkSync(path, join(root, 'srv', basename(path)))
    return join('/srv', basename(path))
  })
  return [first as string, second as string]
}

class InstalledPackage {
  readonly #t: Test
  readonly #machine: DebianMachine

  constructor(t: Test, machine: DebianMachine) {
    this.#t = t
    this.#machine = machine
  }

  async install(path: string): Promise<void> {
    const output = await this.#machine.run('apt-get', 'install', '--yes', path)
    this.#t.notMatch(output, /^dpkg: warning|^W:/m)
  }

  /** The user, the files, their permissions, and that nothing runs. */
  async isInstalled(): Promise<void> {
    const t = this.#t
    t.match(
      await this.#machine.run('getent', 'passwd', 'frequency'),
      /:\/var\/lib\/frequency:\/usr\/sbin\/nologin$/m,
    )
    const files = ['env', 'ingest.env', 'archive.env'].map(name => `/etc/frequency/${name}`)
    const permissions = await this.#machine.run('stat', '--format=%a %U:%G', ...files)
    t.equal(permissions, '640 root:frequency\n'.repeat(files.length))
    for (const unit of UNITS) {
      t.equal(await this.#property(unit, 'UnitFileState'), 'disabled', 'the administrator chooses the role')
      t.equal(await this.#state(unit), 'inactive')
    }
    t.match(await this.#machine.run('frequency', '--version'), /^\d+\.\d+\.\d+\n$/)
    t.equal(await this.#machine.run('dpkg', '--verify', 'frequency'), '')
  }

  /** A unit that runs is restarted; settings, events, and what is enabled stay. */
  async upgrade(path: string): Promise<void> {
    const t = this.#t
    this.set(SETTINGS, { PORT: '0' })
    await this.#machine.run('systemctl', 'enable', '--now', UNIT)
    await this.#isConfined()
    await this.#send(UNIT)
    const before = await this.#property(UNIT, 'MainPID')
    await this.install(path)
    t.match(await this.#machine.run('dpkg-query', '--show', 'frequency'), /\t0\.9\.0-1$/m)
    t.equal(await this.#state(UNIT), 'active')
    t.not(await this.#property(UNIT, 'MainPID'), before, 'the new version runs')
    t.match(readFileSync(this.#path(SETTINGS), 'utf8'), /^PORT=0$/m)
    const states = await Promise.all(UNITS.map(unit => this.#property(unit, 'UnitFileState')))
    t.same(states, ['enabled', 'disabled', 'disabled'])
    await this.#send(UNIT)
    await this.#machine.run('systemctl', 'stop', UNIT)
    t.match(await this.#command('verify'), /Events\s+2 .*^ *CLEAN/ms)
  }

  /** Two units on one machine, each with its own port and DATA_DIR. There is no broker: ingest spools. */
  async rolesApart(): Promise<void> {
    const t = this.#t
    const units = ['frequency-ingest.service', 'frequency-archive.service'] as const
    // Nothing listens on port 1.
    this.set(SETTINGS, { AMQP_URL: 'amqp://127.0.0.1:1/', ARCHIVE_URL: '/var/lib/frequency-archive/archive' })
    for (const name of ['ingest', 'archive']) this.set(`/etc/frequency/${name}.env`, { PORT: '0' })
    await this.#machine.run('systemctl', 'start', ...units)
    t.not(await this.#url(units[0]), await this.#url(units[1]))
    await this.#send(units[0])
    const sizes = await this.#machine.run(
      'find',
      '/var/lib/frequency-ingest',
      '-path',
      '*spool*',
      '-type',
      'f',
    )
    t.match(sizes, /spool/)
    await this.#machine.run('systemctl', 'stop', ...units)
    t.same(
      await Promise.all(units.map(unit => this.#state(unit))),
      ['inactive', 'inactive'],
      'stopped cleanly',
    )
    this.set(SETTINGS, { AMQP_URL: '', ARCHIVE_URL: '' })
  }

  /** The program stops and goes. Settings and events stay. */
  async remove(): Promise<void> {
    const t = this.#t
    await this.#machine.run('systemctl', 'start', UNIT)
    await this.#machine.run('apt-get', 'remove', '--yes', 'frequency')
    t.equal(await this.#state(UNIT), 'inactive')
    await t.rejects(this.#machine.run('frequency', '--version'))
    t.match(readFileSync(this.#path(SETTINGS), 'utf8'), /^PORT=0$/m)
  }

  /** Settings and links go, and what can be made again. Events stay until the administrator removes them. */
  async purge(): Promise<void> {
    const t = this.#t
    const before = await this.#archive()
    t.equal(before.length, 2)
    await this.#machine.run('apt-get', 'purge', '--yes', 'frequency')
    const there = async (...paths: string[]): Promise<string> =>
      await this.#machine.run('sh', '-c', 'ls -d "$@" 2>/dev/null || true', 'sh', ...paths)
    const links = UNITS.map(unit => `/etc/systemd/system/multi-user.target.wants/${unit}`)
    t.equal(await there('/etc/frequency', ...links, `${DATA}/query-cache`), '')
    t.same(await this.#archive(), before, 'events are kept')
    t.equal(await there('/var/lib/systemd/deb-systemd-helper-enabled/frequency.service.dsh-also'), '')
    // As the message of the purge says.
    await this.#machine.run('rm', '-r', DATA, '/var/lib/frequency-ingest', '/var/lib/frequency-archive')
  }

  /** Adds lines to a file of settings, as an administrator does. The last one counts. */
  set(path: string, env: NodeJS.ProcessEnv): void {
    const lines = Object.entries(env).map(([name, value]) => `${name}=${value}\n`)
    appendFileSync(this.#path(path), lines.join(''))
  }

  /** Kills the main process. systemd starts another one. */
  async kill(server: Program): Promise<void> {
    await this.#machine.run('systemctl', 'kill', '--signal=KILL', '--kill-who=main', UNIT)
    const restarts = async (): Promise<boolean> =>
      (await this.#property(UNIT, 'NRestarts')) === '1' && (await this.#state(UNIT)) === 'active'
    await until('systemd has started it again', RESTART_MS_MAX, restarts)
    await server.kill('SIGINT').ended
  }

  /** What the kernel says of the process: no capabilities, and a filter of system calls. */
  async #isConfined(): Promise<void> {
    const status = await this.#machine.run('cat', `/proc/${await this.#property(UNIT, 'MainPID')}/status`)
    for (const line of [/^NoNewPrivs:\s1$/m, /^Seccomp:\s2$/m, /^CapBnd:\s0+$/m, /^Uid:\s[1-9]/m])
      this.#t.match(status, line)
  }

  async #send(unit: string): Promise<void> {
    const status = await post(`${await this.#url(unit)}/api/t`, '{"event":"kept"}', {
      contentType: 'application/json',
    })
    this.#t.equal(status, 200)
  }

  /** The unit is active only if systemd was told that it listens, and where. */
  async #url(unit: string): Promise<string> {
    const [url] = /http:\S+$/.exec(await this.#property(unit, 'StatusText')) ?? []
    if (url === undefined) throw new Error(`${unit} has no URL in its status.`)
    return url
  }

  async #state(unit: string): Promise<string> {
    return await this.#property(unit, 'ActiveState')
  }

  async #property(unit: string, name: string): Promise<string> {
    return (await this.#machine.run('systemctl', 'show', '--value', `--property=${name}`, unit)).trim()
  }

  async #command(...args: readonly string[]): Promise<string> {
    return await this.#machine.run('sh', '-c', AS_UNIT, 'sh', ...args)
  }

  async #archive(): Promise<string[]> {
    const names = await this.#machine.run('find', DATA, '-name', 'batch_*')
    return names.trim().split('\n').sort()
  }

  #path(path: string): string {
    return join(this.#machine.root, path)
  }
}
