/**
 * The whole path on real parts: starts RabbitMQ, an S3 server and the built program, posts thousands of
 * events in bursts, and counts what comes out in the archive.
 *
 *     npm run demo                            one process with all roles
 *     npm run demo -- --ingest=2 --archive=2  so many processes of each role
 *
 * Exits with 1 if an event is refused, missing or doubled.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { readConfig } from '../src/config/config.ts'
import { Program } from '../test/bin/program.ts'
import { ensureServers } from '../test/services/install.ts'
import { startRabbitmq } from '../test/services/rabbitmq.ts'
import { startRadosgw } from '../test/services/radosgw.ts'
import { until } from '../test/services/wait.ts'
import { sendBursts } from './load.ts'
import { endProgress, progress } from './progress.ts'
import { countArchive, flaws, table, waitForArchive } from './result.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
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

const directory = mkdtempSync(join(tmpdir(), 'frequency-demo-'))
const programs: Program[] = []
process.once('exit', () => {
  for (const program of programs) program.kill('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

progress('Building the program, and starting RabbitMQ and an S3 server')
await promisify(execFile)('npm', ['run', 'build'], { cwd: ROOT })
await ensureServers()
const [rabbitmq, radosgw] = await Promise.all([startRabbitmq(), startRadosgw()])
// This process reads the archive too. The SDK would warn of the end of Node 20.
Object.assign(process.env, radosgw.env(), { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' })
await radosgw.createBucket(BUCKET)

const found = await demonstrate(wantedRoles())
await Promise.all([rabbitmq.close(), radosgw.close()])
process.stdout.write(found.length === 0 ? 'Each event is in the archive once.\n' : `${found.join('\n')}\n`)
process.exitCode = found.length === 0 ? 0 : 1

/** A role for each process. */
function wantedRoles(): string[] {
  const { ingest, archive } = options
  if (ingest === undefined && archive === undefined) return ['all']
  return [
    ...Array<string>(Number(ingest ?? 1)).fill('ingest'),
    ...Array<string>(Number(archive ?? 1)).fill('archive'),
  ]
}

/** Resolves to what went wrong, in words. */
async function demonstrate(roles: string[]): Promise<string[]> {
  const bursts = Number(options.bursts)
  const clients = Number(options.clients)
  const config = readConfig({}, { ...radosgw.env(), AMQP_URL: rabbitmq.url, ARCHIVE_URL: `s3://${BUCKET}` })

  progress(`Starting ${roles.length} processes: ${roles.join(', ')}`)
  const started = await Promise.all(roles.map(async role => ({ role, url: await startProgram(role) })))
  const urls = started.filter(({ role }) => role !== 'archive').map(({ url }) => url)

  const startedAt = performance.now()
  const load = await sendBursts({ urls, bursts, clients })
  const taken = load.answers.get(200) ?? 0
  await waitForArchive(config, taken)
  const seconds = (performance.now() - startedAt) / 1000

  for (const program of programs) await program.stop()
  endProgress()
  const result = { sent: bursts * clients, taken, load, seconds, ...(await countArchive(config)) }
  process.stdout.write(table(result))
  return flaws(result, roles.length === 1 ? Math.ceil(taken / config.batchEventsMax) : undefined)
}

/** Resolves to its URL, once there is nothing that it waits for. */
async function startProgram(role: string): Promise<string> {
  const program = new Program(join(ROOT, 'dist', 'bin', 'frequency.js'), {
    cwd: directory,
    args: ['serve', `--role=${role}`],
    env: { ...radosgw.env(), PORT: '0', AMQP_URL: rabbitmq.url, ARCHIVE_URL: `s3://${BUCKET}` },
  })
  programs.push(program)
  const url = await program.listening()
  await until(`${role} is ready`, READY_MS_MAX, async () => {
    const health = await fetch(`${url}/healthz`)
    return ((await health.json()) as { status: string }).status === 'ok'
  })
  return url
}
