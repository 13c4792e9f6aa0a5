/** The shared parts of all rows: built programs, a broker, request bodies, and directories that are removed after the run. */
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Connection } from 'rabbitmq-client'
import { buildProgram } from '../build.ts'
import { ensureServers, SERVER_PACKAGES } from '../test/services/install.ts'
import { BUILT_PROGRAM, DIST, Program, ROOT } from '../test/services/program.ts'
import { type Rabbitmq, startRabbitmq } from '../test/services/rabbitmq.ts'
import { type Radosgw, startRadosgw } from '../test/services/radosgw.ts'
import { Workspace } from '../test/services/workspace.ts'
import { type Bodies, type EventCount, type Ids, singleEvents } from './bodies.ts'
import { BrokerQueue } from './broker-queue.ts'
import { ensureLoadTools } from './load.ts'
import type { BenchOptions } from './options.ts'
import { cpuUs } from './process-figures.ts'
import { progress } from './progress.ts'
import { sampleEvents } from './sample-events.ts'
import { ServerProcess } from './server-process.ts'

const EVENTS = 1_000
const QUIET_WINDOW_MS = 500
const QUIET_SHARE = 0.1
const QUIET_MS_MAX = 20_000
const VERIFY_MS_MAX = 1_800_000

const run = promisify(execFile)

export class Site {
  readonly options: BenchOptions
  readonly workspace: Workspace
  readonly rabbitmq: Rabbitmq
  readonly events: readonly string[]
  readonly #connection: Connection
  #radosgw: Radosgw | undefined
  readonly #bodies = new Map<Ids, Bodies>()
  #made = 0

  /** Builds the programs, and starts a broker. */
  static async open(options: BenchOptions): Promise<Site> {
    const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
    await run(process.execPath, [compiler, '-p', 'bench/tsconfig.json'], { cwd: ROOT })
    await buildProgram(DIST)
    await ensureServers(SERVER_PACKAGES.filter(({ name }) => /^(rabbitmq|erlang)/.test(name)))
    await ensureLoadTools()
    return new Site(options, await startRabbitmq())
  }

  constructor(options: BenchOptions, rabbitmq: Rabbitmq) {
    this.options = options
    this.rabbitmq = rabbitmq
    this.workspace = new Workspace('bench')
    this.#connection = new Connection({ url: rabbitmq.url, noDelay: true })
    this.#connection.on('error', error => progress(`The connection of the bench to RabbitMQ: ${error}`))
    this.events = sampleEvents(EVENTS)
  }

  /** Starts the S3 server at the first call. Resolves to the same server each time. */
  async radosgw(): Promise<Radosgw> {
    if (this.#radosgw === undefined) {
      await ensureServers()
      this.#radosgw = await startRadosgw()
    }
    return this.#radosgw
  }

  /** Returns bodies of single events; with mixed ids, also batches. */
  bodies(ids: Ids): Bodies {
    const bodies = this.#bodies.get(ids) ?? singleEvents(ids, this.file)
    this.#bodies.set(ids, bodies)
    return bodies
  }

  /** Makes a bucket, and resolves to the environment of a process that uses it. */
  async bucketEnv(bucket: string): Promise<Record<string, string>> {
    const radosgw = await this.radosgw()
    await radosgw.createBucket(bucket)
    return radosgw.env()
  }

  /** Writes a file of lines, and returns its path. */
  readonly file = (name: string, lines: readonly string[]): string => {
    const path = join(this.workspace.dir, name)
    writeFileSync(path, `${lines.join('\n')}\n`)
    return path
  }

  /** Returns a queue with a new name. It is not declared yet. */
  queue(): BrokerQueue {
    return new BrokerQueue(this.#connection, this.fresh('queue').name)
  }

  /** Makes a directory. Its name is unique in this run, so it can also name a queue or a prefix. */
  fresh(kind: string): { name: string; path: string } {
    const name = `${kind}-${++this.#made}`
    const path = join(this.workspace.dir, name)
    mkdirSync(path)
    return { name, path }
  }

  /** Removes a large directory before the end of the run. */
  async discard(path: string): Promise<void> {
    await rm(path, { recursive: true, force: true })
  }

  /** Starts `frequency serve` in a new directory. */
  frequency(args: readonly string[], env: Readonly<Record<string, string>>): ServerProcess {
    const { name, path } = this.fresh('frequency')
    return new ServerProcess(this.workspace, BUILT_PROGRAM, {
      name,
      nodeArgs: this.options.nodeArgs,
      args: ['serve', ...args],
      env: { PORT: '0', LOG_LEVEL: 'info', DATA_DIR: join(path, 'data'), ...env, ...this.options.env },
      cwd: path,
    })
  }

  /** Starts a program of bench/programs in a new directory. */
  program(program: string, env: Readonly<Record<string, string>> = {}): ServerProcess {
    const { name, path } = this.fresh(program)
    return new ServerProcess(this.workspace, join(ROOT, '.bench', `${program}.js`), {
      name,
      args: [],
      env,
      cwd: path,
    })
  }

  /** Runs `frequency verify`. Resolves to the numbers of events and of duplicates. */
  async verify(
    archiveUrl: string,
    env: NodeJS.ProcessEnv = {},
  ): Promise<{ events: number; doubled: number }> {
    const { name, path: cwd } = this.fresh('verify')
    const args = ['verify', archiveUrl, '--json', '--no-progress']
    const { workspace } = this
    const verifier = new Program(BUILT_PROGRAM, {
      name,
      workspace,
      cwd,
      args,
      env: { ...process.env, ...env },
    })
    // It exits with 1 if there are duplicates; the report has their number.
    await verifier.endsWithin(VERIFY_MS_MAX)
    const { events, duplicates, error } = JSON.parse(verifier.stdout)
    if (error !== undefined) throw new Error(`${archiveUrl} cannot be verified: ${error}`)
    return { events, doubled: duplicates.events }
  }

  /** Resolves to a sentence for each fault of an archive. @param filled bounds of the events that must be in it */
  async flawsOfArchive(
    archiveUrl: string,
    filled: EventCount,
    env: NodeJS.ProcessEnv = {},
  ): Promise<string[]> {
    const { least, most } = filled
    const { events, doubled } = await this.verify(archiveUrl, env)
    const flaws: string[] = []
    if (events < least || events > most)
      flaws.push(`${least} events were answered, ${events} are in the archive`)
    if (doubled > 0) flaws.push(`${doubled} events are in the archive more than once`)
    return flaws
  }

  /** Resolves when the broker and these servers use less than a tenth of a core, or after 20 seconds. */
  async settle(...servers: ServerProcess[]): Promise<void> {
    if (!this.options.waitsForQuiet) return
    const busyUs = () => [this.rabbitmq, ...servers].reduce((sum, { pid }) => sum + cpuUs(pid), 0)
    const deadline = performance.now() + QUIET_MS_MAX
    for (let before = busyUs(); ; ) {
      await sleep(QUIET_WINDOW_MS)
      const now = busyUs()
      if (now - before < QUIET_WINDOW_MS * 1_000 * QUIET_SHARE || performance.now() > deadline) return
      before = now
    }
  }

  async close(): Promise<void> {
    this.#connection.unsafeDestroy()
    await Promise.all([this.rabbitmq.close(), this.#radosgw?.close(), this.workspace.close()])
  }
}
