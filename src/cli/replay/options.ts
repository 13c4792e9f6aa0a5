/** The options of `frequency replay`, from their texts. */

import { readFile } from 'node:fs/promises'
import { validateHeaderName, validateHeaderValue } from 'node:http'
import { resolve } from 'node:path'
import { parseSettingText } from '../../config/setting-text.ts'
import { milliseconds } from '../../config/setting-types.ts'
import { ConfigInvalid } from '../../errors.ts'
import type { SettingFlags } from '../own-settings.ts'

export interface ReplayFlags extends SettingFlags {
  readonly to?: string
  readonly output?: string
  readonly since?: string
  readonly until?: string
  readonly where?: string
  readonly batchEvents?: string
  readonly body?: 'json' | 'ndjson'
  readonly writeKey?: string
  readonly header?: readonly string[]
  readonly rate?: string
  readonly concurrency?: string
  readonly timeout?: string
  readonly giveUpAfter?: string
  readonly skipRefused?: string
  readonly checkpoint?: string
  readonly restart?: boolean
  readonly dryRun?: boolean
  readonly progress: boolean
}

/** Where events go to. */
export type Destination =
  | { readonly kind: 'url'; readonly url: URL }
  | { readonly kind: 'queue' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'stdout' }

export interface ReplayOptions {
  readonly destination: Destination
  readonly batchEvents: number | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly rate: number | undefined
  readonly concurrency: number
  readonly requestMsMax: number
  readonly retryMsMax: number
}

/** Not even a slash. */
const WITHOUT_PATH = /^https?:\/\/[^/]*$/i
const CONCURRENCY_MAX = 100
const BATCH_EVENTS_MAX = 100_000
const DURATION = milliseconds({ default: 0, minimum: 1, description: '' })
const ONLY_FOR_URLS = ['batchEvents', 'body', 'writeKey', 'header', 'concurrency', 'timeout'] as const

/** @throws ConfigInvalid that names the option */
export async function replayOptions(flags: ReplayFlags): Promise<ReplayOptions> {
  const destination = destinationOf(flags)
  refuseUseless(flags, destination)
  return {
    destination,
    batchEvents: numberOf('--batch-events', flags.batchEvents, BATCH_EVENTS_MAX),
    headers: await headersOf(flags.header ?? []),
    rate: rateOf(flags.rate),
    concurrency: numberOf('--concurrency', flags.concurrency, CONCURRENCY_MAX) ?? 1,
    requestMsMax: durationOf('--timeout', flags.timeout ?? '30s'),
    retryMsMax: durationOf('--give-up-after', flags.giveUpAfter ?? '10m'),
  }
}

function destinationOf({ to, output }: ReplayFlags): Destination {
  if ((to === undefined) === (output === undefined))
    throw new ConfigInvalid(
      'Say where to: --to a URL or queue, or --output a file, or - for standard output.',
    )
  if (output !== undefined)
    return output === '-' ? { kind: 'stdout' } : { kind: 'file', path: resolve(output) }
  if (to === 'queue') return { kind: 'queue' }
  if (to !== undefined && /^https?:\/\//i.test(to) && URL.canParse(to)) {
    if (WITHOUT_PATH.test(to)) throw new ConfigInvalid(`--to has no path. ${pathsOf(new URL(to))}`)
    return { kind: 'url', url: new URL(to) }
  }
  throw new ConfigInvalid(
    `--to must be a URL, like http://127.0.0.1:4000/api/t/batch, or queue, not ${JSON.stringify(to)}.`,
  )
}

/** Where events can go to on a server. The URL is repeated without user, password and query. */
function pathsOf({ origin }: URL): string {
  return `If frequency is there, write ${origin}/api/t/batch, or ${origin}/v1/batch for calls of Segment's libraries. For a webhook write its path, or ${origin}/ if it has none.`
}

function refuseUseless(flags: ReplayFlags, { kind }: Destination): void {
  const useless = kind === 'url' ? undefined : ONLY_FOR_URLS.find(name => flags[name] !== undefined)
  if (useless !== undefined)
    throw new ConfigInvalid(
      `--${useless.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)} needs a URL as --to.`,
    )
  if (kind === 'stdout' && (flags.checkpoint !== undefined || flags.restart))
    throw new ConfigInvalid('Standard output has no checkpoint: use --output FILE.')
}

/** @throws ConfigInvalid. It does not repeat a header's value, which may be a secret. */
async function headersOf(given: readonly string[]): Promise<Record<string, string>> {
  const headers: Record<string, string> = {}
  for (const text of given) {
    const lines = text.startsWith('@') ? await linesOf(text.slice(1)) : [text]
    for (const line of lines) {
      const [, name = '', value = ''] = /^([^:]*):(.*)$/s.exec(line) ?? []
      try {
        validateHeaderName(name)
        validateHeaderValue(name, value.trim())
      } catch {
        throw new ConfigInvalid('--header must be like "Name: value", or @FILE with such lines.')
      }
      headers[name.toLowerCase()] = value.trim()
    }
  }
  return headers
}

async function linesOf(path: string): Promise<string[]> {
  try {
    return (await readFile(path, 'utf8')).split(/\r?\n/).filter(line => line.trim() !== '')
  } catch (error) {
    throw new ConfigInvalid(`--header: ${path} cannot be read: ${(error as Error).message}.`)
  }
}

function numberOf(option: string, text: string | undefined, max: number): number | undefined {
  if (text === undefined) return undefined
  const number = /^\d{1,9}$/.test(text) ? Number(text) : 0
  if (number >= 1 && number <= max) return number
  throw new ConfigInvalid(`${option} must be a whole number from 1 to ${max}, not ${JSON.stringify(text)}.`)
}

function rateOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const rate = /^\d{1,9}(?:\.\d{1,3})?$/.test(text) ? Number(text) : 0
  if (rate > 0) return rate
  throw new ConfigInvalid(`--rate must be events a second, like 500 or 0.5, not ${JSON.stringify(text)}.`)
}

function durationOf(option: string, text: string): number {
  const ms = parseSettingText(DURATION, text)
  if (typeof ms === 'number' && ms > 0 && ms <= 2 ** 31 - 1) return ms
  throw new ConfigInvalid(`${option} must be a time, like 30s or 10m, not ${JSON.stringify(text)}.`)
}
