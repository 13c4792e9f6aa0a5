/** The environment of a run: a broker, a store, the program's processes, and the links between them. */
import { cpSync, existsSync, lstatSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from 'rabbitmq-client'
import { ensureServers } from '../services/install.ts'
import type { Rabbitmq } from '../services/rabbitmq.ts'
import { type Radosgw, startRadosgw } from '../services/radosgw.ts'
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
  /** AMQP heartbeat, in seconds. */
  readonly heartbeat: number
  /** DEDUPE_WINDOW_MS; undefined for the default, which is longer than any run. */
  readonly window: number | undefined
  /** Settings of all processes. They override all others. */
  readonly env: NodeJS.ProcessEnv
}

export class Stage {
  readonly brokers: Brokers
  readonly store: Radosgw
  readonly programs: readonly Program[]
  readonly ledger: Ledger
  readonly window: number | undefined
  /** The original bytes of damaged objects, by key. */
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

  /** Starts a process with random settings. @param env settings that override these */
  start(program: Program, random: Random, env: NodeJS.ProcessEnv = {}): void {
    const settings = program.role === 'archive' ? archiverSettings(random) : ingestSettings(random)
    program.start({ ...settings, ...env, ...this.#env })
  }

  /** Connects to a running broker, without a link. */
  connect(): Connection {
    const { nodes } = this.brokers
    const { url } = nodes.find(isUp) ?? (nodes[0] as Rabbitmq)
    const connection = new Connection({ url, acquireTimeout: ASK_MS_MAX })
    connection.on('error', () => {})
    return connection
  }

  /**
   * Number of undelivered messages on the queue of events. Asks over AMQP, because rabbitmqctl takes long to start.
   */
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

  /** Whether the broker confirms a message on a new connection. The message is not JSON, and becomes a dead letter. */
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

  /** Reads and removes the dead letters. */
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

  /** Number of records in the spool of an ingest process; NaN if the spool cannot be read at the moment. */
  async spooled({ dataDir }: Program): Promise<number> {
    const path = join(dataDir, 'spool', '0')
    if (!existsSync(path)) return 0
    try {
      return await countRecords(path)
    } catch {
      // A drained segment was deleted meanwhile.
      return Number.NaN
    }
  }

  /** Copies the logs and data of all processes to `to`. */
  keep(to: string): void {
    const filter = (from: string) =>
      lstatSync(from).isDirectory() || (lstatSync(from).isFile() && !/\.pid$/.test(from))
    cpSync(this.#workspace.dir, to, { recursive: true, filter })
  }

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

/** Starts the servers, and creates the processes. @throws Error if a server does not start; nothing is left behind then */
export async function openStage(options: StageOptions): Promise<Stage> {
  const { kind, ingests, archivers, heartbeat } = options
  await ensureServers()
  const workspace = new Workspace('fault')
  try {
    const [brokers, store] = await Promise.all([
      startBrokers(kind, join(workspace.dir, 'rabbitmq'), heartbeat),
      startRadosgw(),
    ])
    await store.createBucket(BUCKET)
    const create = (role: 'ingest' | 'archive', index: number) =>
      createProgram(options, workspace.dir, role, index, brokers.nodes, store)
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
  dir: string,
  role: 'ingest' | 'archive',
  index: number,
  nodes: readonly Rabbitmq[],
  store: Radosgw,
): Promise<Program> {
  const isArchiver = role === 'archive'
  const ports = nodes.map(({ port }) => port)
  // Each archiver connects to another broker, as long as that one is up.
  const brokerLink = await openLink(ports, isArchiver ? index : undefined)
  const storeLink = isArchiver ? await openLink([Number(new URL(store.endpoint).port)]) : undefined
  const env = {
    PATH: process.env.PATH,
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
  mkdirSync(dir, { recursive: true })
  const hasDisk = Disk.isPossible
  return Program.create({ program, dir, name: `${role}-${index}`, role, brokerLink, storeLink, hasDisk, env })
}

function isUp(broker: Rabbitmq): boolean {
  try {
    return broker.pid > 0
  } catch {
    return false
  }
}
