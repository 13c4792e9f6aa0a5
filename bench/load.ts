/** The load, from a program that is not ours: wrk, on connections that send one request after the other. */
import { execFile } from 'node:child_process'
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
  await ensureServers([{ name: 'wrk', binaries: ['wrk'] }])
}

/** As fast as the server answers. */
export async function sendLoad({ url, bodies, connections, seconds }: LoadSpec): Promise<LoadFigures> {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', SCRIPT, url, '--', bodies]
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

function figure(value: number | undefined): number {
  if (value === undefined) throw new Error('wrk.lua and load.ts do not agree.')
  return value
}
