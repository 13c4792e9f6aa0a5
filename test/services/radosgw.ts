/**
 * A private Ceph object gateway (radosgw): a real S3 server on a free loopback port, with one monitor and one object
 * store daemon (OSD) behind it. All data are in its directory.
 *
 * Only the gateway can be stopped, killed and paused. The OSD, which has the data, keeps running.
 */
import { randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Daemon, output } from './daemon.ts'
import { serverPath } from './install.ts'
import { freePort, statusOf } from './ports.ts'
import { type CephSettings, cephConfig } from './radosgw-config.ts'
import { type S3Service, s3Environment, silenceNodeAdvice } from './s3-environment.ts'
import { until } from './wait.ts'
import { Workspace } from './workspace.ts'

const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 10_000
const COMMAND_TIMEOUT_MS = 60_000
const STORE_BYTES = 8 * 1024 ** 3

export interface RadosgwOptions {
  /** Parent of the directory that is made here and removed by close(). @default the system's directory for temporary files */
  dir?: string
  /** memstore starts faster and keeps all data in memory. @default 'memstore' */
  store?: 'memstore' | 'bluestore'
  /** Capacity; memstore does not enforce it. @default 8 GiB */
  storeBytes?: number
}

/**
 * Starts the gateway with one user and no buckets. Takes about two seconds, with bluestore ten.
 * @throws Error if a daemon exits or does not answer within a minute
 */
export async function startRadosgw(options: RadosgwOptions = {}): Promise<Radosgw> {
  const workspace = new Workspace('radosgw', options.dir)
  try {
    const ceph = await Ceph.create(workspace, options)
    await ceph.start()
    const gateway = new Radosgw(workspace, ceph)
    await gateway.startGateway()
    await ceph.createUser(gateway)
    return gateway
  } catch (err) {
    await workspace.close()
    throw err
  }
}

export class Radosgw implements S3Service {
  readonly endpoint: string
  readonly accessKeyId = 'test-access-key'
  readonly secretAccessKey = 'test-secret-key'
  readonly region = 'us-east-1'
  #workspace: Workspace
  #ceph: Ceph
  #closed = false

  constructor(workspace: Workspace, ceph: Ceph) {
    this.endpoint = `http://127.0.0.1:${ceph.gatewayPort}`
    this.#workspace = workspace
    this.#ceph = ceph
  }

  /** Process id of the gateway. @throws Error if it does not run */
  get pid(): number {
    return this.#ceph.gateway.pid
  }

  /** Returns the environment of a process that uses the gateway: AWS_* and S3_FORCE_PATH_STYLE. */
  env(): Record<string, string> {
    return s3Environment(this)
  }

  /** @throws S3ServiceException, for example if the gateway is down */
  async createBucket(name: string): Promise<void> {
    const { CreateBucketCommand, S3Client } = await import('@aws-sdk/client-s3')
    silenceNodeAdvice()
    const client = new S3Client({
      endpoint: this.endpoint,
      region: this.region,
      credentials: { accessKeyId: this.accessKeyId, secretAccessKey: this.secretAccessKey },
      forcePathStyle: true,
    })
    try {
      await client.send(new CreateBucketCommand({ Bucket: name }))
    } finally {
      client.destroy()
    }
  }

  /** Starts the gateway, also again after stopGateway() or killGateway(), on the same port. */
  async startGateway(): Promise<void> {
    this.#ceph.gateway.start()
    await until('radosgw answers', START_TIMEOUT_MS, async () => {
      this.#ceph.assertRunning()
      return (await statusOf(this.endpoint)) !== undefined
    })
  }

  /** Ends the gateway with SIGTERM, and with SIGKILL after ten seconds. */
  async stopGateway(): Promise<void> {
    await this.#ceph.gateway.stop(STOP_TIMEOUT_MS)
  }

  async killGateway(): Promise<void> {
    await this.#ceph.gateway.kill()
  }

  /** Pauses the gateway with SIGSTOP: connections are still accepted, and nothing answers. */
  pauseGateway(): void {
    this.#ceph.gateway.signal('SIGSTOP')
  }

  resumeGateway(): void {
    this.#ceph.gateway.signal('SIGCONT')
  }

  /** Frees the data of deleted objects and aborted uploads now. The gateway would do it some seconds later. */
  async collectGarbage(): Promise<void> {
    await this.#ceph.collectGarbage()
  }

  /** Kills all daemons and removes the data. Can be repeated. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#workspace.close()
  }
}

/** The three daemons, and the commands that prepare them. */
class Ceph {
  readonly gatewayPort: number
  readonly monitor: Daemon
  readonly osd: Daemon
  readonly gateway: Daemon
  #settings: CephSettings
  #configFile: string

  static async create(workspace: Workspace, options: RadosgwOptions): Promise<Ceph> {
    const { store = 'memstore', storeBytes = STORE_BYTES } = options
    const [monitorPort, gatewayPort] = [await freePort(), await freePort()]
    const settings = { dir: workspace.dir, fsid: randomUUID(), monitorPort, gatewayPort, store, storeBytes }
    return new Ceph(workspace, settings)
  }

  constructor(workspace: Workspace, settings: CephSettings) {
    this.gatewayPort = settings.gatewayPort
    this.#settings = settings
    this.#configFile = join(settings.dir, 'ceph.conf')
    writeFileSync(this.#configFile, cephConfig(settings))
    const daemon = (name: string, ...args: string[]) =>
      new Daemon(workspace, {
        name,
        command: serverPath(name),
        args: this.#args(...args, '-f'),
        env: cephEnv(),
      })
    this.monitor = daemon('ceph-mon', '-i', 'a')
    this.osd = daemon('ceph-osd', '-i', '0')
    this.gateway = daemon('radosgw', '-n', 'client.rgw')
  }

  /** Starts the monitor and the OSD, with empty storage. */
  async start(): Promise<void> {
    await this.#startMonitor()
    const osdId = randomUUID()
    mkdirSync(join(this.#settings.dir, 'osd'))
    await this.#run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', osdId)
    await this.#run('ceph', '--connect-timeout', String(COMMAND_TIMEOUT_MS / 1_000), 'osd', 'new', osdId)
    this.osd.start()
  }

  async createUser({ accessKeyId, secretAccessKey }: S3Service): Promise<void> {
    const keys = ['--access-key', accessKeyId, '--secret-key', secretAccessKey]
    const user = ['--uid', 'test', '--display-name', 'test', '--max-buckets', '100000', ...keys]
    await this.#run('radosgw-admin', '-n', 'client.rgw', 'user', 'create', ...user)
  }

  async collectGarbage(): Promise<void> {
    await this.#run('radosgw-admin', '-n', 'client.rgw', 'gc', 'process', '--include-all')
  }

  assertRunning(): void {
    for (const daemon of [this.monitor, this.osd, this.gateway]) daemon.assertRunning()
  }

  async #startMonitor(): Promise<void> {
    const { dir, fsid, monitorPort } = this.#settings
    const map = join(dir, 'monmap')
    await this.#run(
      'monmaptool',
      '--create',
      '--fsid',
      fsid,
      '--addv',
      'a',
      `[v2:127.0.0.1:${monitorPort}]`,
      map,
    )
    await this.#run('ceph-mon', '-i', 'a', '--mkfs', '--monmap', map)
    this.monitor.start()
  }

  #args(...args: string[]): string[] {
    return ['-c', this.#configFile, ...args]
  }

  async #run(name: string, ...args: string[]): Promise<void> {
    await output(serverPath(name), this.#args(...args), { env: cephEnv(), timeoutMs: COMMAND_TIMEOUT_MS })
  }
}

// Leaves out settings for another Ceph cluster on this machine.
function cephEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CEPH_')))
}
