/** Everything that a run is made of: a broker, a store, the program's processes, and the links between them. */
import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { open, type RootDatabase } from 'lmdb'
import { Connection } from 'rabbitmq-client'
import { ensureServers } from '../services/install.ts'
import { type Rabbitmq, startRabbitmqCluster } from '../services/rabbitmq.ts'
import { type Radosgw, startRadosgw } from '../services/radosgw.ts'
import { Workspace } from '../services/workspace.ts'
import { type Link, openLink } from './link.ts'
import { Program } from './program.ts'
import type { Random } from './random.ts'

export const BUCKET = 'archive'
export const PREFIX = 'events'
const QUEUE = 'tracks'
const PREFETCH = 2_000
const PUBLISH_MS_MAX = 1_500
const ASK_MS_MAX = 30_000

export interface StageOptions {
  /** The built JavaScript file. */
  readonly program: string
  readonly brokers: number
  readonly ingests: number
  readonly archivers: number
  /** In seconds. */
  readonly heartbeat: number
  /** One for all archivers: it is in the names of objects, over which they contend. */
  readonly compression: string
}

export class Stage {
  readonly brokers: readonly Rabbitmq[]
  readonly store: Radosgw
  readonly programs: readonly Program[]
  readonly #workspace: Workspace
  readonly #links: readonly Link[]

  constructor(
    workspace: Workspace,
    brokers: readonly Rabbitmq[],
    store: Radosgw,
    programs: readonly Program[],
  ) {
    this.#workspace = workspace
    this.brokers = brokers
    this.store = store
    this.programs = programs
    this.#links = programs.flatMap(({ brokerLink, storeLink }) => [brokerLink, storeLink ?? []].flat())
  }

  get ingests(): readonly Program[] {
    return this.programs.filter(({ role }) => role === 'ingest')
  }

  get archivers(): readonly Program[] {
    return this.programs.filter(({ role }) => role === 'archive')
  }

  /**
   * Messages on the queue of events that nobody holds, and dead letters. It is asked over AMQP, since
   * rabbitmqctl takes longer to start than all else on a busy machine.
   */
  async queued(): Promise<{ events: number; dead: number }> {
    const { url } = this.brokers.find(isUp) ?? (this.brokers[0] as Rabbitmq)
    const connection = new Connection({ url, acquireTimeout: ASK_MS_MAX })
    connection.on('error', () => {})
    try {
      const channel = await connection.acquire()
      const { messageCount: events } = await channel.queueDeclare({ queue: QUEUE, passive: true })
      const { messageCount: dead } = await channel.queueDeclare({ queue: `${QUEUE}.dead`, passive: true })
      await channel.close()
      return { events, dead }
    } finally {
      await connection.close()
    }
  }

  /** Groups of events in the spool of an ingest that runs, or not; NaN where that cannot be read just now. */
  spooled({ dataDir }: Program): number {
    const path = join(dataDir, 'spool', '0')
    if (!existsSync(join(path, 'data.mdb'))) return 0
    try {
      const dropped = readLmdb(
        path,
        root => root.openDB({ name: 'state', encoding: 'json' }).get('dropped') ?? 0,
      )
      const segments = readdirSync(path).filter(name => /^\d{16}\.mdb$/.test(name))
      return segments
        .map(name => readLmdb(join(path, name), events => events.getKeysCount({ start: dropped + 1 })))
        .reduce((sum, count) => sum + count, 0)
    } catch {
      // A segment is deleted once it is drained, and has no pages yet when it is made.
      return Number.NaN
    }
  }

  /** Copies what tells of a failure to `to`: the logs and data of all processes. */
  keep(to: string): void {
    cpSync(this.#workspace.dir, to, { recursive: true, filter: from => !/\/(lock|.*\.pid)$/.test(from) })
  }

  note(text: string): void {
    writeFileSync(join(this.#workspace.dir, 'faults.log'), `${new Date().toISOString()} ${text}\n`, {
      flag: 'a',
    })
  }

  async close(): Promise<void> {
    await Promise.all(this.programs.map(program => (program.isOver ? undefined : program.kill())))
    await Promise.all(this.#links.map(link => link.close()))
    await Promise.all([...this.brokers.map(broker => broker.close()), this.store.close()])
    await this.#workspace.close()
  }
}

/** How an archiver batches: mostly small, so that there are many moments at which it can be killed. */
export function batchSettings(random: Random): NodeJS.ProcessEnv {
  return {
    BATCH_EVENTS_MAX: String(random.pick([200, 500, 1_000, 2_000])),
    BATCH_AGE_MS_MAX: String(random.pick([500, 1_000, 1_000, 3_000])),
  }
}

/** @throws Error where a server does not start; then nothing is left behind. */
export async function openStage(options: StageOptions): Promise<Stage> {
  const { brokers, ingests, archivers, heartbeat } = options
  await ensureServers()
  const workspace = new Workspace('fault')
  try {
    const [nodes, store] = await Promise.all([
      startRabbitmqCluster(brokers, {
        dir: join(workspace.dir, 'rabbitmq'),
        config: `heartbeat = ${heartbeat}`,
      }),
      startRadosgw(),
    ])
    await store.createBucket(BUCKET)
    const create = (role: 'ingest' | 'archive', index: number) =>
      createProgram(options, workspace.dir, role, index, nodes, store)
    const programs = await Promise.all([
      ...Array.from({ length: ingests }, (_, index) => create('ingest', index + 1)),
      ...Array.from({ length: archivers }, (_, index) => create('archive', index + 1)),
    ])
    return new Stage(workspace, nodes, store, programs)
  } catch (error) {
    await workspace.close()
    throw error
  }
}

async function createProgram(
  { program, compression }: StageOptions,
  dir: string,
  role: 'ingest' | 'archive',
  index: number,
  nodes: readonly Rabbitmq[],
  store: Radosgw,
): Promise<Program> {
  const brokerLink = await openLink(nodes.map(({ port }) => port))
  const storeLink = role === 'archive' ? await openLink([Number(new URL(store.endpoint).port)]) : undefined
  const env = {
    PATH: process.env.PATH,
    AMQP_URL: `amqp://guest:guest@127.0.0.1:${brokerLink.port}`,
    AMQP_QUEUE: QUEUE,
    AMQP_PREFETCH: String(PREFETCH),
    PUBLISH_MS_MAX: String(PUBLISH_MS_MAX),
    ARCHIVE_COMPRESSION: compression,
    ...(storeLink !== undefined && {
      ...store.env(),
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${storeLink.port}`,
      ARCHIVE_URL: `s3://${BUCKET}/${PREFIX}`,
    }),
  }
  mkdirSync(dir, { recursive: true })
  return Program.create({ program, dir, name: `${role}-${index}`, role, brokerLink, storeLink, env })
}

function readLmdb<T>(path: string, read: (root: RootDatabase) => T): T {
  const root = open({ path, readOnly: true, encoding: 'binary', maxDbs: 4 })
  try {
    return read(root)
  } finally {
    void root.close()
  }
}

function isUp(broker: Rabbitmq): boolean {
  try {
    return broker.pid > 0
  } catch {
    return false
  }
}
