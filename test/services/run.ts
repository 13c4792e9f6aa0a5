/**
 * Starts RabbitMQ and an S3 server, runs a command with their addresses, and exits with the command's exit code:
 *
 *     node --import=tsx test/services/run.ts tap test/queue.test.ts
 *
 * If the command names test files and nothing else to test, only the servers that these files use are started.
 *
 * With RabbitMQ the command gets TEST_AMQP_URL and TEST_RABBITMQCTL_ENV (see rabbitmqctl() in rabbitmq.ts); with
 * the S3 server TEST_S3_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL_S3 and
 * S3_FORCE_PATH_STYLE. SIGINT and SIGTERM are passed on to it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { ALERT_PACKAGES, BROWSER_PACKAGES, ensureServers, SERVER_PACKAGES } from './install.ts'
import { type Needs, neededServers } from './needed-servers.ts'
import { type Rabbitmq, startRabbitmq } from './rabbitmq.ts'
import { type Radosgw, startRadosgw } from './radosgw.ts'
import { bothOrNone } from './servers.ts'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

interface Servers {
  rabbitmq?: Rabbitmq | undefined
  radosgw?: Radosgw | undefined
}

async function start({ servers, hasPrograms }: Needs): Promise<Servers> {
  // Tests that need more packages would otherwise install them within their own time limits.
  if (hasPrograms) await ensureServers([...SERVER_PACKAGES, ...BROWSER_PACKAGES, ...ALERT_PACKAGES])
  if (servers.size === 0) return {}
  const startedAt = Date.now()
  const [rabbitmq, radosgw] = await bothOrNone(
    servers.has('rabbitmq') ? startRabbitmq() : undefined,
    servers.has('s3') ? startRadosgw() : undefined,
  )
  const names = [rabbitmq && `RabbitMQ at ${rabbitmq.url}`, radosgw && `S3 at ${radosgw.endpoint}`]
  process.stderr.write(`Started ${names.filter(Boolean).join(' and ')} in ${Date.now() - startedAt} ms\n`)
  return { rabbitmq, radosgw }
}

function environment({ rabbitmq, radosgw }: Servers): NodeJS.ProcessEnv {
  const { AWS_PROFILE, AWS_SESSION_TOKEN, ...env } = process.env
  return {
    ...env,
    ...(rabbitmq && {
      TEST_AMQP_URL: rabbitmq.url,
      TEST_RABBITMQCTL_ENV: JSON.stringify(rabbitmq.ctlEnv),
    }),
    ...(radosgw && { ...radosgw.env(), TEST_S3_ENDPOINT: radosgw.endpoint }),
  }
}

/** Resolves to the exit code: 128 plus the signal's number if a signal has ended the command. */
async function run([command, ...args]: [string, ...string[]], env: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn(command, args, { stdio: 'inherit', env })
  const pass = (signal: NodeJS.Signals) => child.kill(signal)
  for (const signal of SIGNALS) process.on(signal, pass)
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    return code ?? 128 + (signal === null ? 0 : constants.signals[signal])
  } finally {
    for (const signal of SIGNALS) process.off(signal, pass)
  }
}

async function main(command: string[]): Promise<number> {
  const [name, ...args] = command
  if (name === undefined) throw new Error('Usage: node --import=tsx test/services/run.ts COMMAND [ARGUMENT…]')
  const servers = await start(neededServers(args))
  try {
    return await run([name, ...args], environment(servers))
  } finally {
    await Promise.all([servers.rabbitmq?.close(), servers.radosgw?.close()])
  }
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (err) {
  process.stderr.write(`${err instanceof Error ? err.message : err}\n`)
  process.exitCode = 1
}
