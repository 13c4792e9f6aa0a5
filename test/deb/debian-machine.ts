/**
 * A Debian machine with nothing but apt, and with systemd as its PID 1: a container of systemd-nspawn. It has the
 * network of this machine. Needs Linux and root.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Test } from 'tap'
import { startProgram } from '../bin/program.ts'
import { Child } from '../services/child-process.ts'
import { output } from '../services/daemon.ts'
import { firstChildOf } from '../services/first-child.ts'
import { ensureServers, MACHINE_PACKAGES } from '../services/install.ts'
import { type Program, ROOT } from '../services/program.ts'
import { until } from '../services/wait.ts'

const SUITE = 'bookworm'
const MIRROR = 'http://deb.debian.org/debian'
const MAKE_MS_MAX = 240_000
const BOOT_MS_MAX = 60_000
const RUN_MS_MAX = 60_000
/** Names that systemd-nspawn gives to control groups. */
const CONTROL_GROUPS = ['payload', 'supervisor']

export class DebianMachine {
  /** Directory of this machine that is the root directory of the other. */
  readonly root: string
  readonly #t: Test
  readonly #container: Child
  #leader = 0

  /** Makes and boots the machine. It is removed at the end of the test. */
  static async boot(t: Test): Promise<DebianMachine> {
    if (process.platform !== 'linux' || process.getuid?.() !== 0)
      throw new Error('A Debian machine is a container of systemd-nspawn: run this on Linux, as root.')
    await ensureServers(MACHINE_PACKAGES)
    mkdirSync(join(ROOT, '.tap'), { recursive: true })
    const directory = mkdtempSync(join(ROOT, '.tap', 'debian-'))
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    const root = join(directory, `frequency-${basename(directory)}`)
    await makeRoot(root)
    const machine = new DebianMachine(t, root)
    await machine.#booted()
    return machine
  }

  private constructor(t: Test, root: string) {
    this.#t = t
    this.root = root
    // Where systemd runs, it makes a scope for the container. Elsewhere the container stays in the control group.
    const scope = existsSync('/run/systemd/system') ? [] : ['--keep-unit']
    const nspawn = ['systemd-nspawn', '--boot', '--quiet', '--register=no', `--directory=${root}`, ...scope]
    // On SIGTERM systemd-nspawn shuts the machine down. It gets one if this process is killed.
    const command = ['-u', 'NODE_OPTIONS', 'setpriv', '--pdeathsig', 'TERM', ...nspawn]
    const options = { name: 'the Debian machine', command: 'env', args: command, env: process.env, cwd: root }
    this.#container = new Child(options)
    t.teardown(() => this.#halt())
  }

  /** Runs a command as root. @returns its standard output. @throws Error with its standard error if it fails */
  run(...command: readonly string[]): Promise<string> {
    return output('nsenter', [...this.#entering(), ...command], { env: this.#env(), timeoutMs: RUN_MS_MAX })
  }

  /** Runs a shell script as root. It gets the signals of the program, and runs beside systemd. */
  start(script: string, args: readonly string[] = []): Program {
    return startProgram(this.#t, '/bin/sh', {
      isExecutable: true,
      // Without a fork the signals arrive. The script's own commands are processes of the machine.
      under: ['nsenter', '--no-fork', ...this.#entering()],
      args: ['-c', script, 'sh', ...args],
      cwd: this.root,
    })
  }

  #entering(): string[] {
    return [`--target=${this.#leader}`, '--all']
  }

  #env(): NodeJS.ProcessEnv {
    return { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' }
  }

  async #booted(): Promise<void> {
    let state = ''
    await until('the Debian machine has booted', BOOT_MS_MAX, async () => {
      this.#container.assertRunning()
      // systemd-nspawn starts a process that starts PID 1, and is gone then.
      this.#leader = firstChildOf(this.#container.pid) ?? 0
      // It fails while PID 1 is not there yet, and exits with 1 unless the state is "running".
      state = await this.run('systemctl', 'is-system-running').catch(error => error.stdout || error.message)
      return /^(?:running|degraded)$/m.test(state)
    }).catch(error => {
      throw new Error(`${error.message}: ${state}\n${this.#container.output}`)
    })
  }

  async #halt(): Promise<void> {
    // With its PID 1 the kernel kills all processes of the machine. Then systemd-nspawn ends.
    if (this.#leader > 0) process.kill(this.#leader, 'SIGKILL')
    else this.#container.kill('SIGKILL')
    await this.#container.endsWithin(BOOT_MS_MAX)
    rmSync(join('/run/systemd/nspawn/propagate', basename(this.root)), { recursive: true, force: true })
    removeControlGroups()
  }
}

/** With dbus, which every Debian machine with systemd has, and without documents, to be done sooner. */
async function makeRoot(root: string): Promise<void> {
  const options = [
    '--mode=root',
    '--variant=minbase',
    '--include=systemd,systemd-sysv,dbus',
    '--dpkgopt=force-unsafe-io',
    '--aptopt=Acquire::Languages "none"',
  ]
  const args = [...options, SUITE, root, MIRROR]
  await output('mmdebstrap', args, { timeoutMs: MAKE_MS_MAX })
}

/** Without a systemd on this machine, systemd-nspawn leaves them behind. Those that are in use stay. */
function removeControlGroups(): void {
  const groups = ['systemd', 'unified'].flatMap(hierarchy =>
    CONTROL_GROUPS.map(name => join('/sys/fs/cgroup', hierarchy, name)),
  )
  const there = groups.filter(existsSync)
  if (there.length > 0)
    spawnSync('find', [...there, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';'], { stdio: 'ignore' })
}
