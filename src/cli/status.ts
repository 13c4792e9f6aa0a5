import { setTimeout as delay } from 'node:timers/promises'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { readConfig } from '../config/config.ts'
import { ConfigInvalid } from '../errors.ts'
import { balance, format, type Ledger } from '../observability/ledger-balance.ts'
import { type ProcessStatus, processStatusSchema } from '../observability/process-status.ts'
import { statusSettings } from './own-settings.ts'

const ANSWER_MS_MAX = 10_000
/** Long enough that what moves shows. */
const BETWEEN_ROUNDS_MS = 250
const EXIT_CODES = { 'adds-up': 0, missing: 1, surplus: 1, unknown: 2 } as const
const EXIT_ERROR = 2

export interface StatusFlags {
  readonly host?: string
  readonly port?: string
  readonly adminHost?: string
  readonly adminPort?: string
  readonly url?: readonly string[]
  readonly json?: boolean
}

interface Answer {
  readonly url: string
  readonly status: ProcessStatus
}

/**
 * Asks running processes, and writes to standard output whether all that was accepted is where it
 * should be.
 *
 * @returns the exit code: 0 where it adds up, 1 where it does not, and 2 where that cannot be told.
 */
export async function status(flags: StatusFlags, env: NodeJS.ProcessEnv): Promise<number> {
  try {
    const urls = flags.url ?? [defaultUrl(flags, env)]
    const before = await askAll(urls)
    await delay(BETWEEN_ROUNDS_MS)
    const answers = await askAll(urls)
    const statuses = (round: readonly Answer[]) => round.map(answer => answer.status)
    const ledger = balance([statuses(before), statuses(answers)])
    process.stdout.write(flags.json ? inJson(answers, ledger) : inWords(answers, ledger))
    return EXIT_CODES[ledger.verdict]
  } catch (error) {
    if (!(error instanceof ConfigInvalid)) throw error
    if (flags.json) process.stdout.write(`${JSON.stringify({ error: error.message }, null, 2)}\n`)
    process.stderr.write(`frequency: ${error.message}\n`)
    return EXIT_ERROR
  }
}

/** Where the process listens that these settings are for. */
export function defaultUrl(flags: StatusFlags, env: NodeJS.ProcessEnv): string {
  const given = Object.fromEntries(
    Object.entries(flags).filter(([name, value]) => isSetting(name) && value !== undefined),
  )
  const { host, port, adminHost, adminPort } = readConfig(
    given,
    Object.fromEntries(statusSettings.map(({ variable }) => [variable, env[variable]])),
  )
  const own = adminPort === undefined ? host : adminHost
  const reachable = { '0.0.0.0': '127.0.0.1', '::': '::1' }[own] ?? own
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${adminPort ?? port}`
}

function isSetting(name: string): boolean {
  return statusSettings.some(setting => setting.name === name)
}

function askAll(urls: readonly string[]): Promise<Answer[]> {
  return Promise.all(urls.map(async url => ({ url, status: await ask(url) })))
}

async function ask(url: string): Promise<ProcessStatus> {
  let answer: unknown
  try {
    const response = await fetch(new URL('/status', url), { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
    if (!response.ok) throw new Error(`it answers ${response.status}`)
    answer = await response.json()
  } catch (error) {
    const { message, cause } = error as Error
    const reason = cause instanceof Error && cause.message !== '' ? cause.message : message
    throw new ConfigInvalid(`${url} cannot be asked: ${reason}. Name a running process with --url.`)
  }
  if (!TypeCompiler.Compile(processStatusSchema).Check(answer))
    throw new ConfigInvalid(`${url} is no process of frequency, or one of another version.`)
  return answer
}

function inJson(answers: readonly Answer[], ledger: Ledger): string {
  const processes = answers.map(({ url, status: { books, ...status } }) => ({ url, ...status }))
  return `${JSON.stringify({ processes, ledger }, null, 2)}\n`
}

function inWords(answers: readonly Answer[], ledger: Ledger): string {
  return `${[...answers.flatMap(processLines), '', ...ledgerLines(ledger), '', ...verdictLines(ledger)].join('\n')}\n`
}

function processLines({ url, status }: Answer): string[] {
  const { role, ready, startedAt, queue, log, troubles } = status
  return [
    `${url}  ${role}, ${ready ? 'ready' : 'NOT READY'}, started ${startedAt}`,
    `  queue: ${queue}`,
    ...(log === null ? [] : [`  log: ${logWords(log)}`]),
    ...troubles.map(trouble => `  ${trouble}`),
  ]
}

function logWords({ position, watermark, total, unsettled }: NonNullable<ProcessStatus['log']>): string {
  const archived =
    total === null
      ? 'what it names is being counted'
      : `${format(total.events)} events in ${format(total.objects)} objects are archived`
  const left = unsettled.batches === 0 ? '' : `; ${format(unsettled.batches)} batches are not objects yet`
  return `${archived}, up to record ${format(position)} (watermark ${format(watermark)})${left}`
}

function ledgerLines(ledger: Ledger): string[] {
  const { accepted, found, fromOthers, archived, copies, disk, unacknowledged, queue, dead, deadNow } = ledger
  const rows: [string, number | undefined, string?][] = [['accepted', accepted]]
  if (found > 0) rows.push(['+ found on disk', found, 'before the count began'])
  if (fromOthers > 0) rows.push(['+ from other programs', fromOthers, 'archived or dead'])
  rows.push([
    '= archived',
    archived,
    copies > 0 ? `of these ${format(copies)} were there already, and were not written again` : '',
  ])
  rows.push(['+ on disk', disk, 'spool, or embedded queue'])
  rows.push([
    '+ on the queue',
    queue.messages === undefined ? undefined : queue.eventsByDifference,
    queueNote(queue),
  ])
  rows.push(['+ unacknowledged', unacknowledged, 'delivered to the archiver'])
  rows.push([
    '+ dead',
    dead,
    deadNow === undefined ? '' : `${format(deadNow)} messages are in the dead-letter queue now`,
  ])
  const texts = rows.map(([, count]) => (count === undefined ? '?' : format(count)))
  const width = Math.max(...texts.map(text => text.length))
  return [
    `Events since ${ledger.begunAt}:`,
    ...rows.map(([name, , note], at) =>
      `  ${name.padEnd(23)}${(texts[at] as string).padStart(width)}${note ? `  (${note})` : ''}`.trimEnd(),
    ),
  ]
}

function queueNote({ messages, eventsMin, eventsMax }: Ledger['queue']): string {
  if (messages === undefined) return 'the broker cannot be asked'
  if (eventsMax === 0) return ''
  return `by difference: ${format(messages)} messages, with ${format(eventsMin)} to ${format(eventsMax)} events`
}

function verdictLines({ verdict, words, tolerance }: Ledger): string[] {
  const moved = tolerance === 0 ? '' : `, to within the ${format(tolerance)} that moved while this was asked`
  switch (verdict) {
    case 'adds-up':
      return [`It adds up${moved}.`]
    case 'unknown':
      return ['Whether it adds up cannot be told.', ...words]
    default:
      return ['IT DOES NOT ADD UP.', ...words]
  }
}
