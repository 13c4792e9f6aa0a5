import { setTimeout as delay } from 'node:timers/promises'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { ConfigInvalid } from '../errors.ts'
import { balance, format, type Ledger } from '../observability/ledger-balance.ts'
import { type ProcessStatus, processStatusSchema } from '../observability/process-status.ts'
import { failureReason } from '../process/failure-reason.ts'
import { EXIT_CODES } from './exit-codes.ts'
import type { SettingFlags } from './own-settings.ts'
import { defaultServerUrl, serverUrl } from './server-url.ts'

const ANSWER_MS_MAX = 10_000
/** Pause between the two rounds of questions, so that changing counts differ. */
const BETWEEN_ROUNDS_MS = 250
/** The exit code of each verdict. */
const CODES = {
  'adds-up': EXIT_CODES.done,
  missing: EXIT_CODES.failed,
  surplus: EXIT_CODES.failed,
  unknown: EXIT_CODES.unusable,
} as const
const ADMIN_HINT = 'A server with ADMIN_PORT has it on that port: name the port with --admin-port or --url.'

export interface StatusFlags extends SettingFlags {
  readonly url?: readonly string[]
  readonly json?: boolean
}

interface Answer {
  readonly url: string
  readonly status: ProcessStatus
}

/**
 * Asks running processes for their counts, and writes to standard output whether all accepted events are archived,
 * waiting or dead.
 *
 * @returns the exit code: 0 if the counts add up, 1 if they do not, 2 if that is not known
 */
export async function status(flags: StatusFlags, env: NodeJS.ProcessEnv): Promise<number> {
  try {
    const urls = flags.url?.map(serverUrl) ?? [defaultServerUrl(flags, env)]
    const before = await askAll(urls)
    await delay(BETWEEN_ROUNDS_MS)
    const answers = await askAll(urls)
    const statuses = (round: readonly Answer[]) => round.map(answer => answer.status)
    const ledger = balance([statuses(before), statuses(answers)])
    process.stdout.write(flags.json ? jsonText(answers, ledger) : reportText(answers, ledger))
    return CODES[ledger.verdict]
  } catch (error) {
    if (!(error instanceof ConfigInvalid)) throw error
    if (flags.json) process.stdout.write(`${JSON.stringify({ error: error.message }, null, 2)}\n`)
    process.stderr.write(`frequency: ${error.message}\n`)
    return EXIT_CODES.unusable
  }
}

function askAll(urls: readonly string[]): Promise<Answer[]> {
  return Promise.all(urls.map(async url => ({ url, status: await ask(url) })))
}

async function ask(url: string): Promise<ProcessStatus> {
  let answer: unknown
  try {
    const statusUrl = new URL('status', url.endsWith('/') ? url : `${url}/`)
    const response = await fetch(statusUrl, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
    if (response.status === 404) throw new ConfigInvalid(`${url} has no /status. ${ADMIN_HINT}`)
    if (!response.ok) throw new Error(`it answers ${response.status}`)
    answer = await response.json()
  } catch (error) {
    if (error instanceof ConfigInvalid) throw error
    throw new ConfigInvalid(`${url} cannot be asked: ${reasonOf(error)}. Name a running process with --url.`)
  }
  if (!TypeCompiler.Compile(processStatusSchema).Check(answer))
    throw new ConfigInvalid(`${url} is not a frequency process, or it has another version.`)
  return answer
}

function reasonOf(error: unknown): string {
  const { name } = error as Error
  if (name === 'TimeoutError') return `it does not answer within ${ANSWER_MS_MAX / 1000} s`
  return name === 'SyntaxError' ? 'its answer is not JSON' : failureReason(error)
}

function jsonText(answers: readonly Answer[], ledger: Ledger): string {
  const processes = answers.map(({ url, status: { books, ...status } }) => ({ url, ...status }))
  return `${JSON.stringify({ processes, ledger }, null, 2)}\n`
}

function reportText(answers: readonly Answer[], ledger: Ledger): string {
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
      ? 'its events are being counted'
      : `${format(total.events)} events in ${format(total.objects)} objects are archived`
  const left = unsettled.batches === 0 ? '' : `; ${format(unsettled.batches)} batches have no object yet`
  return `${archived}, up to record ${format(position)} (watermark ${format(watermark)})${left}`
}

function ledgerLines(ledger: Ledger): string[] {
  const {
    accepted,
    found,
    fromOthers,
    archived,
    copies,
    suppressed,
    disk,
    unacknowledged,
    queue,
    dead,
    deadNow,
  } = ledger
  const rows: [string, number | undefined, string?][] = [['accepted', accepted]]
  if (found > 0) rows.push(['+ found on disk', found, 'from before the count began'])
  if (fromOthers > 0) rows.push(['+ from other programs', fromOthers, 'archived or dead'])
  const notes = [
    copies > 0 ? `${format(copies)} of these were in the archive already, and were not written again` : '',
    suppressed > 0 ? `${format(suppressed)} of these were dropped, because their user is suppressed` : '',
  ]
  rows.push(['= archived', archived, notes.filter(note => note !== '').join('; ')])
  rows.push(['+ on disk', disk, 'in the spool, or the embedded queue'])
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
  const moved = tolerance === 0 ? '' : `, within the ${format(tolerance)} events that moved meanwhile`
  switch (verdict) {
    case 'adds-up':
      return [`It adds up${moved}.`]
    case 'unknown':
      return ['It is not known whether it adds up.', ...words]
    default:
      return ['IT DOES NOT ADD UP.', ...words]
  }
}
