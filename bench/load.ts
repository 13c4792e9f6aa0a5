/**
 * Sends requests with two load generators: wrk, as fast as the server answers, and h2load, at a constant rate. Each
 * connection sends one request after the other.
 */
import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ensureServers, serverPath } from '../test/services/install.ts'

const SCRIPT = fileURLToPath(new URL('wrk.lua', import.meta.url))
const LATE_MS_MAX = 30_000
const run = promisify(execFile)

export interface LoadSpec {
  readonly url: string
  /** Path of a file with a request body in each line. */
  readonly bodies: string
  readonly connections: number
  readonly seconds: number
  /** Pause of each connection before a request. @default 0 */
  readonly pauseMs?: number
}

export interface LoadFigures {
  /** Answers with a status below 400. */
  readonly answers: number
  readonly seconds: number
  /** Answers with a status from 400 on, and requests without an answer. */
  readonly errors: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** Installs wrk and h2load if they are missing. */
export async function ensureLoadTools(): Promise<void> {
  await ensureServers([
    { name: 'wrk', binaries: ['wrk'] },
    { name: 'nghttp2-client', binaries: ['h2load'] },
  ])
}

/** Sends requests as fast as the server answers, with wrk. */
export async function sendLoad({
  url,
  bodies,
  connections,
  seconds,
  pauseMs,
}: LoadSpec): Promise<LoadFigures> {
  // By default wrk counts an answer after two seconds as an error, which is too short on a busy machine.
  const timeout = `--timeout=${LATE_MS_MAX / 1_000}s`
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, timeout, '-s', SCRIPT, url, '--', bodies]
  if (pauseMs !== undefined) args.push(String(pauseMs))
  const { stdout } = await run(serverPath('wrk'), args, { timeout: seconds * 1_000 + LATE_MS_MAX })
  const json = stdout.split('\n').find(line => line.startsWith('{'))
  if (json === undefined) throw new Error(`wrk printed no figures:\n${stdout}`)
  const { answers, us, refused, failed, p50Us, p99Us } = JSON.parse(json) as Record<string, number>
  return {
    answers: figure(answers) - figure(refused),
    seconds: figure(us) / 1e6,
    errors: figure(refused) + figure(failed),
    p50Ms: figure(p50Us) / 1e3,
    p99Ms: figure(p99Us) / 1e3,
  }
}

/**
 * Sends the first body again and again at a constant rate, with h2load. The connections share the rate. If a
 * connection still waits for an answer, its next request is sent late, and the latency counts from when it is sent.
 */
export async function sendPaced(
  { url, bodies, connections, seconds }: LoadSpec,
  perSecond: number,
): Promise<LoadFigures> {
  const [bodyFile, logFile] = [`${bodies}.body`, `${bodies}.log`]
  await writeFile(bodyFile, (await readFile(bodies, 'utf8')).split('\n', 1)[0] as string)
  await rm(logFile, { force: true })
  const pace = ['--h1', '-t1', `-c${connections}`, `-D${seconds}`, `--rps=${perSecond / connections}`]
  const body = ['-d', bodyFile, '-H', 'content-type: application/json', `--log-file=${logFile}`]
  await run(serverPath('h2load'), [...pace, ...body, url], { timeout: seconds * 1_000 + LATE_MS_MAX })
  return await readLog(logFile, seconds)
}

/** Reads the log of h2load. It has a line for each answer: start time, status, and latency in microseconds. */
async function readLog(logFile: string, seconds: number): Promise<LoadFigures> {
  const latenciesUs: number[] = []
  let errors = 0
  for await (const line of createInterface({ input: createReadStream(logFile) })) {
    const [, status, us] = line.split('\t').map(Number)
    if (status === 200 && us !== undefined) latenciesUs.push(us)
    else errors++
  }
  latenciesUs.sort((a, b) => a - b)
  const quantileMs = (share: number) =>
    (latenciesUs[Math.ceil(share * latenciesUs.length) - 1] ?? Number.NaN) / 1e3
  return { answers: latenciesUs.length, seconds, errors, p50Ms: quantileMs(0.5), p99Ms: quantileMs(0.99) }
}

function figure(value: number | undefined): number {
  if (value === undefined)
    throw new Error('A figure is missing in the output of wrk: load.ts and wrk.lua must have the same names.')
  return value
}
