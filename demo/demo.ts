/**
 * Tries the whole path with real servers: starts RabbitMQ, an S3 server and the built program, posts thousands
 * of events in bursts, and counts the events in the archive.
 *
 *     npm run demo                            one process with all roles
 *     npm run demo -- --ingest=2 --archive=2  two processes of each role
 *
 * Exits with 1 if an event is refused, missing or archived twice.
 */
import { parseArgs } from 'node:util'
import { buildProgram } from '../build.ts'
import { readConfig } from '../src/config/config.ts'
import { BUILT_PROGRAM, DIST, Program } from '../test/services/program.ts'
import { startServers } from '../test/services/servers.ts'
import { until } from '../test/services/wait.ts'
import { Workspace } from '../test/services/workspace.ts'
import { sendBursts } from './load.ts'
import { endProgress, progress } from './progress.ts'
import { countArchive, flaws, table, waitForArchive } from './result.ts'

const BUCKET = 'demo'
const READY_MS_MAX = 60_000

const { values: options } = parseArgs({
  options: {
    ingest: { type: 'string' },
    archive: { type: 'string' },
    bursts: { type: 'string', default: '30' },
    clients: { type: 'string', default: '1000' },
  },
})

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

progress('Building the program, and starting RabbitMQ and an S3 server')
await buildProgram(DIST)
const workspace = new Workspace('demo')
const { rabbitmq, radosgw, close } = await startServers()
// This process reads the archive too.
Object.assign(process.env, radosgw.env())
await radosgw.createBucket(BUCKET)

const found = await demonstrate(wantedRoles())
await Promise.all([close(), workspace.close()])
process.stdout.write(found.length === 0 ? 'Each event is in the archive once.\n' : `${found.join('\n')}\n`)
process.exitCode = found.length === 0 ? 0 : 1

/** The role of each process to start. */
function wantedRoles(): string[] {
  const { ingest, archive } = options
  if (ingest === undefined && archive === undefined) return ['all']
  return [
    ...Array<string>(Number(ingest ?? 1)).fill('ingest'),
    ...Array<string>(Number(archive ?? 1)).fill('archive'),
  ]
}

/** Resolves to one sentence for each fault that was found. */
async function demonstrate(roles: string[]): Promise<string[]> {
  const bursts = Number(options.bursts)
  const clients = Number(options.clients)
  const config = readConfig({}, { ...radosgw.env(), AMQP_URL: rabbitmq.url, ARCHIVE_URL: `s3://${BUCKET}` })

  progress(`Starting ${roles.length} processes: ${roles.join(', ')}`)
  const started = await Promise.all(roles.map((role, index) => startProgram(role, index + 1)))
  const urls = started.filter(({ role }) => role !== 'archive').map(({ url }) => url)

  const startedAt = performance.now()
  const load = await sendBursts({ urls, bursts, clients })
  const taken = load.answers.get(200) ?? 0
  await waitForArchive(config, taken)
  const seconds = (performance.now() - startedAt) / 1000

  for (const { program } of started) await program.stop()
  endProgress()
  const result = { sent: bursts * clients, taken, load, seconds, ...(await countArchive(config)) }
  process.stdout.write(table(result))
  return flaws(result, roles.length === 1 ? Math.ceil(taken / config.batchEventsMax) : undefined)
}

interface Started {
  readonly role: string
  readonly program: Program
  readonly url: string
}

/** Resolves when `/healthz` says that the program and its servers are usable. */
async function startProgram(role: string, number: number): Promise<Started> {
  const program = new Program(BUILT_PROGRAM, {
    name: `${role}-${number}`,
    workspace,
    cwd: workspace.dir,
    args: ['serve', `--role=${role}`],
    env: { ...radosgw.env(), PORT: '0', AMQP_URL: rabbitmq.url, ARCHIVE_URL: `s3://${BUCKET}` },
  })
  const url = await program.listening()
  await until(`${program.name} is ready`, READY_MS_MAX, async () => {
    const health = await fetch(`${url}/healthz`)
    return ((await health.json()) as { status: string }).status === 'ok'
  })
  return { role, program, url }
}
