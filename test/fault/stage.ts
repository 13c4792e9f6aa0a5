/** The parts of a run: the broker, the store, the processes of the program, and the links between them. */
import { cpSync, existsSync, lstatSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from 'rabbitmq-client'
import { ensureServers } from '../services/install.ts'
import type { Rabbitmq } from '../services/rabbitmq.ts'
import { type Radosgw, startRadosgw } from '../services/radosgw.ts'
import { bothOrNone } from '../services/servers.ts'
import { Workspace } from '../services/workspace.ts'
import { type BrokerKind, type Brokers, startBrokers } from './brokers.ts'
import { Disk } from './disk.ts'
import { type Link, openLink } from './link.ts'
import { Program } from './program.ts'
import type { Random } from './random.ts'
import { Ledger, SOURCES } from './sent-events.ts'
import { archiverSettings, ingestSettings } from './settings.ts'
import { countRecords } from './spool.ts'
import { BUCKET, PREFIX } from './store-client.ts'

export const QUEUE = 'tracks'
const PUBLISH_MS_MAX = 1_500
const ASK_MS_MAX = 30_000
const CONFIRM_MS_MAX = 10_000
const WRITE_KEYS = SOURCES.flatMap(({ name, keys }) => keys.map(key => `${name}=${key}`)).join(',')

export interface StageOptions {
  /** The built JavaScript file. */
  readonly program: string
  readonly seed: string
  readonly kind: BrokerKind
  readonly ingests: number
  readonly archivers: number
  /** Heartbeat of AMQP, in seconds. */
  readonly heartbeat: number
  /** DEDUPE_WINDOW_MS; undefined: its default, which is longer than any run. */
  readonly window: number | undefined
  /** Settings of all processes. They override all other settings. */
  readonly env: NodeJS.ProcessEnv
}

export class Stage {
  readonly brokers: Brokers
  readonly store: Radosgw
  readonly programs: readonly Program[]
  readonly ledger: Ledger
  readonly window: number | undefined
  /** The bytes of damaged objects before the damage, by key. */
  readonly damaged = new Map<string, Buffer>()
  readonly #workspace: Workspace
  readonly #links: readonly Link[]
  readonly #env: NodeJS.ProcessEnv

  constructor(
    { seed, window, env }: StageOptions,
    workspace: Workspace,
    brokers: Brokers,
    store: Radosgw,
    programs: readonly Program[],
  ) {
    this.ledger = new Ledger(seed)
    this.window = window
    this.brokers = brokers
    this.store = store
    this.programs = programs
    this.#workspace = workspace
    this.#links = programs.flatMap(({ brokerLink, storeLink }) => [brokerLink, storeLink ?? []].flat())
    this.#env = env
  }

  get ingests(): readonly Program[] {
    return this.programs.filter(({ role }) => role === 'ingest')
  }

  get archivers(): readonly Program[] {
    return this.programs.filter(({ role }) => role === 'archive')
  }

  /** Starts a process with random settings. @param env overrides the random settings */
  start(program: Program, random: Random, env: NodeJS.ProcessEnv = {}): void {
    const settings = program.role === 'archive' ? archiverSettings(random) : ingestSettings(random)
    program.start({ ...settings, ...env, ...this.#env })
  }

  /** Connects to a running broker directly, without a link. */
  connect(): Connection {
    const { nodes } = this.brokers
    const { url } = nodes.find(isUp) ?? (nodes[0] as Rabbitmq)
    const connection = new Connection({ url, acquireTimeout: ASK_MS_MAX })
    connection.on('error', () => {})
    return connection
  }

  /** Resolves to the number of ready messages on the queue of events. Asks over AMQP: rabbitmqctl takes long to start. */
  async queued(): Promise<number> {
    const connection = this.connect()
    try {
      const channel = await connection.acquire()
      const { messageCount } = await channel.queueDeclare({ queue: QUEUE, passive: true })
      await channel.close()
      return messageCount
    } finally {
      await connection.close()
    }
  }

  /** Resolves to whether the broker confirms a message on a new connection. The message is not JSON. */
  async confirms(): Promise<boolean> {
    const text = this.ledger.addJunk()
    const connection = this.connect()
    try {
      const publisher = connection.createPublisher({ confirm: true })
      const sent = publisher.send({ routingKey: QUEUE, durable: true }, Buffer.from(text))
      const isConfirmed = await Promise.race([sent.then(() => true), sleep(CONFIRM_MS_MAX, false)])
      if (isConfirmed) this.ledger.acknowledgeJunk(text)
      return isConfirmed
    } catch {
      return false
    } finally {
      connection.unsafeDestroy()
    }
  }

  /** Removes all dead letters from their queue, and resolves to them. */
  async takeDeadLetters(): Promise<string[]> {
    const connection = this.connect()
    try {
      const channel = await connection.acquire()
      const letters: string[] = []
      for (;;) {
        const letter = await channel.basicGet({ queue: `${QUEUE}.dead`, noAck: true })
        if (letter === undefined) break
        letters.push(Buffer.isBuffer(letter.body) ? letter.body.toString() : JSON.stringify(letter.body))
      }
      await channel.close()
      return letters
    } finally {
      await connection.close()
    }
  }

  /** Resolves to the number of groups of events in the spool of an ingest process, or to NaN if the spool cannot be read now. */
  async spooled({ dataDir }: Program): Promise<number> {
    const path = join(dataDir, 'spool', '0')
    if (!existsSync(path)) return 0
    try {
      return await countRecords(path)
    } catch {
      // The process has deleted a drained segment meanwhile.
      return Number.NaN
    }
  }

  /** Copies the logs and data of all processes to `to`. */
  keep(to: string): void {
    const filter = (from: string) =>
      lstatSync(from).isDirectory() || (lstatSync(from).isFile() && !/\.pid$/.test(from))
    cpSync(this.#workspace.dir, to, { recursive: true, filter })
  }

  /** Appends a line to `faults.log`. */
  note(text: string): void {
    writeFileSync(join(this.#workspace.dir, 'faults.log'), `${new Date().toISOString()} ${text}\n`, {
      flag: 'a',
    })
  }

  async close(): Promise<void> {
    await Promise.all(this.programs.map(program => program.close()))
    await Promise.all(this.#links.map(link => link.close()))
    await Promise.all([this.brokers.close(), this.store.close()])
    await this.#workspace.close()
  }
}

/** Starts the servers, and creates the processes without starting them. @throws Error if a server does not start; then no server is left */
export async function openStage(options: StageOptions): Promise<Stage> {
  const { kind, ingests, archivers, heartbeat } = options
  await ensureServers()
  const workspace = new Workspace('fault')
  try {
    const [brokers, store] = await bothOrNone(
      startBrokers(kind, join(workspace.dir, 'rabbitmq'), heartbeat),
      startRadosgw(),
    )
    await store.createBucket(BUCKET)
    const create = (role: 'ingest' | 'archive', index: number) =>
      createProgram(options, workspace, role, index, brokers.nodes, store)
    const programs = await Promise.all([
      ...Array.from({ length: ingests }, (_, index) => create('ingest', index + 1)),
      ...Array.from({ length: archivers }, (_, index) => create('archive', index + 1)),
    ])
    return new Stage(options, workspace, brokers, store, programs)
  } catch (error) {
    await workspace.close()
    throw error
  }
}

async function createProgram(
  { program, window }: StageOptions,
  workspace: Workspace,
  role: 'ingest' | 'archive',
  index: number,
  nodes: readonly Rabbitmq[],
  store: Radosgw,
): Promise<Program> {
  const isArchiver = role === 'archive'
  const ports = nodes.map(({ port }) => port)
  // Each archiver prefers another broker of the cluster.
  const brokerLink = await openLink(ports, isArchiver ? index : undefined)
  const storeLink = isArchiver ? await openLink([Number(new URL(store.endpoint).port)]) : undefined
  const env = {
    AMQP_URL: `amqp://guest:guest@127.0.0.1:${brokerLink.port}`,
    AMQP_QUEUE: QUEUE,
    PUBLISH_MS_MAX: String(PUBLISH_MS_MAX),
    ...(window !== undefined && { DEDUPE_WINDOW_MS: String(window) }),
    ...(!isArchiver && { WRITE_KEYS }),
    ...(storeLink !== undefined && {
      ...store.env(),
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${storeLink.port}`,
      ARCHIVE_URL: `s3://${BUCKET}/${PREFIX}`,
    }),
  }
  return Program.create({
    program,
    workspace,
    name: `${role}-${index}`,
    role,
    brokerLink,
    storeLink,
    hasDisk: Disk.isPossible,
    env,
  })
}

function isUp(broker: Rabbitmq): boolean {
  try {
    return broker.pid > 0
  } catch {
    return false
  }
}
