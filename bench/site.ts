/** What all rows share: the built programs, a broker, bodies to send, and directories that go with the run. */
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Connection } from 'rabbitmq-client'
import { buildProgram } from '../build.ts'
import { ensureServers, SERVER_PACKAGES } from '../test/services/install.ts'
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

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const FREQUENCY = join(ROOT, 'dist', 'bin', 'frequency.js')
const EVENTS = 1_000
const QUIET_WINDOW_MS = 500
const QUIET_SHARE = 0.1
const QUIET_MS_MAX = 20_000

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

  /** Builds, and starts a broker. */
  static async open(options: BenchOptions): Promise<Site> {
    const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
    await run(process.execPath, [compiler, '-p', 'bench/tsconfig.json'], { cwd: ROOT })
    await buildProgram(join(ROOT, 'dist'))
    await ensureServers(SERVER_PACKAGES.filter(({ name }) => /^(rabbitmq|erlang)/.test(name)))
    await ensureLoadTools()
    return new Site(options, await startRabbitmq())
  }

  constructor(options: BenchOptions, rabbitmq: Rabbitmq) {
    this.options = options
    this.rabbitmq = rabbitmq
    this.workspace = new Workspace('bench')
    this.#connection = new Connection({ url: rabbitmq.url, noDelay: true })
    this.#connection.on('error', error => progress(`The bench's own connection: ${error}`))
    this.events = sampleEvents(EVENTS)
  }

  /** Started once, when a row asks for it. */
  async radosgw(): Promise<Radosgw> {
    if (this.#radosgw === undefined) {
      await ensureServers()
      // The SDK would warn of the end of Node 20.
      process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true'
      this.#radosgw = await startRadosgw()
    }
    return this.#radosgw
  }

  /** An event a request, and where ids are mixed also batches. */
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

  /** A queue that nothing else uses; not declared yet. */
  queue(): BrokerQueue {
    return new BrokerQueue(this.#connection, this.fresh('queue').name)
  }

  /** A new directory, and a name that nothing else has: for a queue, or a bucket. */
  fresh(kind: string): { name: string; path: string } {
    const name = `${kind}-${++this.#made}`
    const path = join(this.workspace.dir, name)
    mkdirSync(path)
    return { name, path }
  }

  /** Removes a directory that no row needs any more, which is large. */
  async discard(path: string): Promise<void> {
    await rm(path, { recursive: true, force: true })
  }

  /** `frequency serve`, in a directory of its own. */
  frequency(args: readonly string[], env: Readonly<Record<string, string>>): ServerProcess {
    const { name, path } = this.fresh('frequency')
    return new ServerProcess(this.workspace, {
      name,
      args: [...this.options.nodeArgs, FREQUENCY, 'serve', ...args],
      env: { PORT: '0', LOG_LEVEL: 'info', DATA_DIR: join(path, 'data'), ...env, ...this.options.env },
      cwd: path,
    })
  }

  /** A program of bench/programs. */
  program(program: string, env: Readonly<Record<string, string>> = {}): ServerProcess {
    const { name, path } = this.fresh(program)
    return new ServerProcess(this.workspace, {
      name,
      args: [join(ROOT, '.bench', `${program}.js`)],
      env,
      cwd: path,
    })
  }

  /** What `frequency verify` says of an archive. */
  async verify(
    archiveUrl: string,
    env: NodeJS.ProcessEnv = {},
  ): Promise<{ events: number; doubled: number }> {
    const args = [FREQUENCY, 'verify', archiveUrl, '--json', '--no-progress']
    const verified = run(process.execPath, args, { env: { ...process.env, ...env } })
    // It exits with 1 where there are duplicates, and says how many.
    const { stdout } = await verified.catch((error: Error & { stdout: string }) => error)
    const { events, duplicates, error } = JSON.parse(stdout)
    if (error !== undefined) throw new Error(`${archiveUrl} cannot be verified: ${error}`)
    return { events, doubled: duplicates.events }
  }

  /** What is wrong with an archive that has what was filled, in words. */
  async flawsOfArchive(
    archiveUrl: string,
    { least, most }: EventCount,
    env: NodeJS.ProcessEnv = {},
  ): Promise<string[]> {
    const { events, doubled } = await this.verify(archiveUrl, env)
    const flaws: string[] = []
    if (events < least || events > most)
      flaws.push(`${least} events were answered, ${events} are in the archive`)
    if (doubled > 0) flaws.push(`${doubled} events are doubled in the archive`)
    return flaws
  }

  /** Resolves when the broker and these servers do next to nothing any more, or have not come to that. */
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
