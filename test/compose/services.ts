/** Runs in the network that main.ts makes. */
import { randomBytes, randomUUID } from 'node:crypto'
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { post } from '../helpers/post.ts'
import { Child } from '../services/child-process.ts'
import { until } from '../services/wait.ts'
import { aliasesOf, COMPOSE_DIRECTORY, readCompose, type Service } from './compose-file.ts'
import { makeBridge, NetworkHost } from './network-host.ts'

const SUITE_MS_MAX = 600_000
const READY_MS_MAX = 120_000
const ARCHIVED_MS_MAX = 120_000
const CLIENTS = 10
const SCRAPED_JOBS = { frequency: 4, rabbitmq: 3 }
const SCRIPTS = '/usr/lib/rabbitmq/bin'
const NETWORK = '10.99.0'
const FREQUENCY = '/usr/local/bin/frequency'
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

const secret = (): string => randomBytes(16).toString('hex')
const KEY = secret()
const { s3, rabbitmq, image, imageEnv, user } = JSON.parse(process.env.COMPOSE_SETUP as string)
const compose = readCompose({
  RABBITMQ_COOKIE: secret(),
  RABBITMQ_PASSWORD: secret(),
  S3_SECRET: secret(),
  GRAFANA_PASSWORD: secret(),
  WRITE_KEYS: `web=${KEY}`,
})
const names = Object.keys(compose.services)
const addresses = new Map(names.map((name, n) => [name, `${NETWORK}.${n + 10}`]))
const directory = mkdtempSync(join(tmpdir(), 'frequency-compose-'))
const hosts = ['127.0.0.1 localhost', ...names.map(hostsLine)].join('\n')
const running = new Map<string, NetworkHost>()

t.setTimeout(SUITE_MS_MAX)
// Kills those that still run if the test has failed.
t.teardown(() => Promise.all([...running.values()].map(host => host.kill('SIGKILL').ended)))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))

function hostsLine(name: string): string {
  return [addresses.get(name), name, ...aliasesOf(compose.services[name] as Service)].join(' ')
}

function urlOf(name: string, port: number): string {
  return `http://${addresses.get(name)}:${port}`
}

/** The programs of the images, where they are here, and what the images start by themselves. */
function programOf(name: string, service: Service): { base: string; command: readonly string[] } {
  const { entrypoint = [], command = [] } = service
  if (service.image.includes('/rabbitmq:')) {
    const [program = 'rabbitmq-server'] = entrypoint
    return { base: rabbitmq, command: [`${SCRIPTS}/${program}`, ...command] }
  }
  if (service.image.startsWith('frequency:')) return { base: image, command: [FREQUENCY, 'serve'] }
  if (entrypoint.length > 0) return { base: '/', command: [...entrypoint, ...command] }
  if (name === 'prometheus') return { base: '/', command: ['/usr/bin/prometheus', ...command] }
  if (name === 's3') return { base: '/', command: ['/usr/local/bin/versitygw', ...command] }
  return { base: '/', command: ['haproxy', '-W', '-db', '-f', '/usr/local/etc/haproxy/haproxy.cfg'] }
}

/** Docker has a name server in each container. The balancer asks it for the addresses of the ingests. */
function startNameServer(t: Test, name: string): void {
  const host = running.get(name) as NetworkHost
  const path = join(directory, 'hosts')
  writeFileSync(path, hosts)
  const listen = [
    '--listen-address=127.0.0.11',
    '--bind-interfaces',
    '--no-resolv',
    '--no-hosts',
    `--addn-hosts=${path}`,
  ]
  const server = new Child({
    name: 'name server',
    command: 'nsenter',
    args: [
      `--target=${host.firstPid}`,
      '--net',
      '--',
      'dnsmasq',
      '--keep-in-foreground',
      '--conf-file=/dev/null',
    ].concat(listen, ['--user=root', '--pid-file']),
    env: { PATH: SYSTEM_PATH },
    cwd: directory,
  })
  t.teardown(() => server.kill('SIGKILL').ended)
}

/** @returns `source:target` of each volume. A named volume is a directory that stays */
function mountsOf(service: Service, owner: string | undefined): string[] {
  const volumes = (service.volumes ?? []).map(volume => {
    const [source = '', target = ''] = volume.split(':')
    if (source.startsWith('.')) return `${join(COMPOSE_DIRECTORY, source)}:${target}`
    const path = join(directory, 'volumes', source)
    mkdirSync(path, { recursive: true })
    if (owner !== undefined) chownSync(path, ...(owner.split(':').map(Number) as [number, number]))
    return `${path}:${target}`
  })
  const isS3 = service.image.includes('/versitygw:')
  return isS3 ? [...volumes, `${s3}:/usr/local/bin/versitygw`] : volumes
}

async function start(name: string): Promise<NetworkHost> {
  const service = compose.services[name] as Service
  const isFrequency = service.image.startsWith('frequency:')
  const owner = isFrequency ? user : undefined
  const own = isFrequency ? Object.fromEntries(imageEnv.map((each: string) => each.split(/=(.*)/s))) : {}
  const host = await NetworkHost.start({
    name,
    hostname: service.hostname ?? name,
    directory: join(directory, name),
    ...programOf(name, service),
    address: addresses.get(name) as string,
    hosts,
    mounts: mountsOf(service, owner),
    env: { PATH: SYSTEM_PATH, HOME: '/var/lib/rabbitmq', ...own, ...service.environment },
    user: owner,
  })
  running.set(name, host)
  return host
}

/** Starts it again at the same address, after it has ended. */
async function stopAndStart(
  t: Test,
  name: string,
  signal: NodeJS.Signals,
  between: () => Promise<void>,
): Promise<void> {
  const host = running.get(name) as NetworkHost
  host.kill(signal)
  const { code } = await host.endsWithin(60_000)
  t.equal(code, 0, `${name} ends by itself`)
  await between()
  await start(name)
}

/** Runs a service that ends by itself, again until it succeeds, as `restart: on-failure` does. */
async function complete(name: string): Promise<void> {
  await until(`${name} has completed`, READY_MS_MAX, async () => {
    const { code } = await (await start(name)).endsWithin(READY_MS_MAX)
    return code === 0
  })
}

/** Waits for the health check of compose.yaml. */
async function healthy(t: Test, name: string): Promise<void> {
  const [, program = '', ...args] = compose.services[name]?.healthcheck?.test ?? []
  const path = program.startsWith('rabbitmq-') ? `${SCRIPTS}/${program}` : program
  let problem = ''
  await until(`${name} is healthy`, READY_MS_MAX, () => {
    try {
      running.get(name)?.exec([path, ...args])
      return true
    } catch (error) {
      problem = String((error as { stderr?: string }).stderr ?? error)
      return false
    }
  }).catch(error => {
    throw new Error(`${error.message}: ${problem}\n${running.get(name)?.output.slice(-4_000)}`)
  })
  t.pass(`${name} is healthy`)
}

/** Sends events with ids, each until it is answered with 200. */
class Clients {
  readonly answered = new Set<string>()
  refused = 0
  #isStopping = false
  readonly #agent = new Agent({ keepAlive: true })
  readonly #done: Promise<unknown>

  constructor() {
    this.#done = Promise.all(Array.from({ length: CLIENTS }, () => this.#send()))
  }

  async #send(): Promise<void> {
    while (!this.#isStopping) {
      const messageId = randomUUID()
      const body = JSON.stringify({ event: 'composed', messageId })
      while ((await this.#status(body)) !== 200) this.refused++
      this.answered.add(messageId)
    }
  }

  async #status(body: string): Promise<number> {
    const url = `${urlOf('balancer', 4000)}/api/t?writeKey=${KEY}`
    return await post(url, body, { contentType: 'application/json', agent: this.#agent }).catch(() => 0)
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#done
    this.#agent.destroy()
  }

  async more(count: number): Promise<void> {
    const target = this.answered.size + count
    await until(`${count} more events are answered`, READY_MS_MAX, () => this.answered.size >= target)
  }
}

interface Targets {
  readonly activeTargets: readonly { health: string; labels: { job: string } }[]
}

interface Rules {
  readonly groups: readonly { rules: readonly { health: string }[] }[]
}

async function prometheusData<T>(path: string): Promise<T> {
  const response = await fetch(`${urlOf('prometheus', 9090)}/api/v1/${path}`)
  return ((await response.json()) as { data: T }).data
}

function query(sql: string): Readonly<Record<string, number>>[] {
  const text = running.get('archiver-1')?.exec([FREQUENCY, 'query', sql, '--format=json'], ARCHIVED_MS_MAX)
  return JSON.parse(text ?? '[]')
}

t.test('all services, started by hand', { timeout: SUITE_MS_MAX }, async t => {
  makeBridge(`${NETWORK}.1`)
  await start('s3')
  await healthy(t, 's3')
  await complete('bucket')
  await complete('bucket')
  for (const name of ['rabbit-1', 'rabbit-2', 'rabbit-3']) await start(name)
  await complete('rabbit-ready')
  for (const name of ['ingest-1', 'ingest-2', 'archiver-1', 'archiver-2', 'balancer', 'prometheus'])
    await start(name)
  startNameServer(t, 'balancer')
  for (const name of names.filter(name => running.has(name) && compose.services[name]?.healthcheck))
    await healthy(t, name)

  t.equal((await fetch(`${urlOf('balancer', 4000)}/api/t`, { method: 'POST' })).status, 401, 'needs a key')
  for (const path of ['/', '/metrics', '/readyz'])
    t.equal((await fetch(`${urlOf('balancer', 4000)}${path}`)).status, 404, `${path} is not open to others`)

  const clients = new Clients()
  const more = (): Promise<void> => clients.more(500)
  await more()
  await stopAndStart(t, 'rabbit-1', 'SIGTERM', more)
  await more()
  await stopAndStart(t, 'ingest-1', 'SIGTERM', more)
  await more()
  await stopAndStart(t, 'archiver-2', 'SIGTERM', more)
  running.get('rabbit-3')?.kill('SIGKILL')
  await running.get('rabbit-3')?.endsWithin(10_000)
  await more()
  await start('rabbit-3')
  await more()
  await clients.stop()
  const sent = clients.answered.size
  t.comment(`${sent} events were answered with 200; ${clients.refused} answers were something else`)

  await until('all are archived', ARCHIVED_MS_MAX, () => {
    const [{ ids = 0 } = {}] = query('select count(distinct message_id) as ids from events')
    return ids >= sent
  })
  t.match(query('select count(*) as events, count(distinct message_id) as ids from events'), [
    { events: sent, ids: sent },
  ])
  const verified = JSON.parse(running.get('archiver-1')?.exec([FREQUENCY, 'verify', '--json']) ?? '{}')
  t.match(verified, { result: 'clean' })

  await healthy(t, 'rabbit-3')
  const list = ['list_queues', '--silent', '--formatter=json', 'name', 'type', 'members']
  const queues = JSON.parse(running.get('rabbit-2')?.exec([`${SCRIPTS}/rabbitmqctl`, ...list]) ?? '[]')
  const tracks = queues.find(({ name }: { name: string }) => name === 'tracks')
  t.match(tracks, { type: 'quorum' })
  t.strictSame(
    tracks.members.toSorted(),
    [1, 2, 3].map(n => `rabbit@rabbit-${n}`),
  )

  await until('Prometheus has scraped all', READY_MS_MAX, async () => {
    const { activeTargets } = await prometheusData<Targets>('targets')
    const up = activeTargets.filter(({ health }) => health === 'up')
    return Object.entries(SCRAPED_JOBS).every(
      ([job, count]) => up.filter(({ labels }) => labels.job === job).length === count,
    )
  })
  const { groups } = await prometheusData<Rules>('rules')
  const rules = groups.flatMap(group => group.rules)
  t.ok(rules.length > 10, `${rules.length} rules`)
  t.strictSame(
    rules.filter(({ health }) => health === 'err'),
    [],
  )

  for (const name of ['balancer', 'ingest-1', 'ingest-2', 'archiver-1', 'archiver-2'] as const) {
    const signal = (compose.services[name]?.stop_signal ?? 'SIGTERM') as NodeJS.Signals
    const host = running.get(name) as NetworkHost
    host.kill(signal)
    t.match(await host.endsWithin(40_000), { code: 0 }, `${name} ends within its time`)
  }
})
