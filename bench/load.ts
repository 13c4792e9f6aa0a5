/**
 * The load, from programs that are not ours, on connections that send one request after the other: wrk,
 * as fast as they are answered, and h2load, at a constant rate.
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
  /** A file with a body a line. */
  readonly bodies: string
  readonly connections: number
  readonly seconds: number
  /** How long each connection waits before a request. @default not at all */
  readonly pauseMs?: number
}

export interface LoadFigures {
  /** Answers with a status below 400. */
  readonly answers: number
  readonly seconds: number
  /** Answers with another status, and requests that got none. */
  readonly errors: number
  readonly p50Ms: number
  readonly p99Ms: number
}

export async function ensureLoadTools(): Promise<void> {
  await ensureServers([
    { name: 'wrk', binaries: ['wrk'] },
    { name: 'nghttp2-client', binaries: ['h2load'] },
  ])
}

/** As fast as the server answers. */
export async function sendLoad({
  url,
  bodies,
  connections,
  seconds,
  pauseMs,
}: LoadSpec): Promise<LoadFigures> {
  // By default what takes more than two seconds counts as failed, which on a busy machine it has not.
  const patience = `--timeout=${LATE_MS_MAX / 1_000}s`
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, patience, '-s', SCRIPT, url, '--', bodies]
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
 * At a constant rate, shared by the connections; the first body is sent all the time. A request that
 * could not be sent in time, because the one before had no answer yet, is sent late, and its latency
 * counts from then.
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

/** A line for each answer: when it was asked for, its status, and the microseconds that it took. */
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
  if (value === undefined) throw new Error('wrk.lua and load.ts do not agree.')
  return value
}
