import { isUtf8 } from 'node:buffer'
import { DeliveredEvents } from '../archive/delivered-events.ts'
import { ConfigInvalid, QueueUnavailable } from '../errors.ts'
import type { DeadLetter, DeadLetters } from '../queue/dead-letters.ts'
import { openDeadLetters } from '../queue/open-dead-letters.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { deadSettings, readOwnConfig, type SettingFlags } from './own-settings.ts'

const PREVIEW_CHARACTERS = 60
/** Most letters that one run reads. Those that it does not settle stay unacknowledged on the broker until it ends. */
const SCANNED_MAX = 100_000

export interface DeadFlags extends SettingFlags {
  readonly json?: boolean
  readonly limit?: number
  readonly raw?: boolean
  readonly all?: boolean
}

export type DeadAction = (dead: DeadLetters, ids: readonly string[], flags: DeadFlags) => Promise<Outcome>

interface Outcome {
  readonly isDone: boolean
  readonly report: Record<string, unknown>
  readonly text: string | Buffer
}

/**
 * Opens the dead letters, runs the action, and writes a report to standard output.
 *
 * @returns the exit code: 0 if all was done, 1 if a letter was not found or was left, 2 if the dead letters could not be
 *   reached, or the connection was lost
 */
export async function dead(
  action: DeadAction,
  ids: readonly string[],
  flags: DeadFlags,
  env: NodeJS.ProcessEnv,
): Promise<number> {
  try {
    const { isDone, report, text } = await openAndRun(action, ids, flags, env)
    process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : text)
    return isDone ? EXIT_CODES.done : EXIT_CODES.failed
  } catch (error) {
    if (!(error instanceof ConfigInvalid || error instanceof QueueUnavailable)) throw error
    const { message } = error
    if (flags.json) process.stdout.write(`${JSON.stringify({ error: message }, null, 2)}\n`)
    process.stderr.write(`frequency: ${message}\n`)
    return EXIT_CODES.unusable
  }
}

async function openAndRun(
  action: DeadAction,
  ids: readonly string[],
  flags: DeadFlags,
  env: NodeJS.ProcessEnv,
): Promise<Outcome> {
  // With a broker the role `all` needs ARCHIVE_URL. This command archives nothing, so it takes another role.
  const hasBroker = Boolean(flags.amqpUrl ?? env.AMQP_URL)
  const config = readOwnConfig(deadSettings, flags, env, hasBroker ? { role: 'ingest' } : {})
  const letters = await openDeadLetters(config)
  try {
    return await action(letters, ids, flags)
  } finally {
    await letters.close()
  }
}

export const list: DeadAction = async (dead, _, { limit = 100 }) => {
  const listed: Summary[] = []
  for await (const letter of scanned(dead, limit)) listed.push(summaryOf(letter))
  const { description, count } = dead
  return {
    isDone: true,
    report: { queue: description, count, letters: listed },
    text: listText(description, count, listed),
  }
}

export const show: DeadAction = async (dead, [id], { raw }) => {
  for await (const letter of scanned(dead)) {
    if (letter.id !== id) continue
    const { body, properties } = letter
    const report = {
      ...summaryOf(letter),
      properties,
      ...(isUtf8(body) ? { body: body.toString() } : { bodyBase64: body.toString('base64') }),
    }
    return { isDone: true, report, text: raw ? body : letterText(letter) }
  }
  return { isDone: false, report: { missing: [id] }, text: notFound([id as string], dead) }
}

export const retry: DeadAction = (dead, ids, flags) =>
  settle(dead, ids, flags, 'retried', async letter => {
    if (!isArchivable(letter)) return 'is not a JSON object and would be dead-lettered again. Drop it'
    await dead.retry(letter)
    return undefined
  })

export const drop: DeadAction = (dead, ids, flags) =>
  settle(dead, ids, flags, 'dropped', async letter => {
    await dead.drop(letter)
    return undefined
  })

/**
 * Retries or drops the letters with these ids, or all.
 *
 * @param settleOne resolves to the reason why a letter was left, or to undefined if it was settled
 */
async function settle(
  dead: DeadLetters,
  ids: readonly string[],
  { all }: DeadFlags,
  verb: 'retried' | 'dropped',
  settleOne: (letter: DeadLetter) => Promise<string | undefined>,
): Promise<Outcome> {
  const missing = new Set(ids)
  const left: { id: string; reason: string }[] = []
  let settled = 0
  let leftCount = 0
  let seen = 0
  try {
    for await (const letter of scanned(dead)) {
      seen++
      if (!all && !ids.includes(letter.id)) continue
      missing.delete(letter.id)
      const reason = await settleOne(letter)
      if (reason === undefined) settled++
      else if (leftCount++ < 100) left.push({ id: letter.id, reason })
    }
  } catch (cause) {
    if (!(cause instanceof QueueUnavailable)) throw cause
    throw new QueueUnavailable(`${cause.message} (${settled} ${verb} before that; the others stay)`, {
      cause,
    })
  }
  const unseen = seen < SCANNED_MAX ? 0 : dead.count - seen
  const lines = left.map(each => `${each.id} ${each.reason}.\n`)
  if (unseen > 0) lines.push(`${unseen} more were not read: run the command again.\n`)
  return {
    isDone: leftCount === 0 && missing.size === 0 && unseen === 0,
    report: { queue: dead.description, [verb]: settled, leftCount, left, missing: [...missing], unseen },
    text: [...lines, notFound([...missing], dead), `${settled} ${verb}, ${leftCount} left.\n`].join(''),
  }
}

async function* scanned(dead: DeadLetters, countMax = SCANNED_MAX): AsyncGenerator<DeadLetter> {
  for (let n = 0; n < countMax; n++) {
    const letter = await dead.next()
    if (letter === undefined) return
    yield letter
  }
}

interface Summary {
  readonly id: string
  readonly deadSince: string | null
  readonly reason: string
  readonly bytes: number
  readonly preview: string
}

function summaryOf(letter: DeadLetter): Summary {
  return {
    id: letter.id,
    deadSince: letter.cause?.at?.toISOString() ?? null,
    reason: reasonOf(letter),
    bytes: letter.body.length,
    preview: previewOf(letter.body),
  }
}

function isArchivable({ body, group }: DeadLetter): boolean {
  return !new DeliveredEvents({ body, group, redelivered: false }).isUnreadable
}

const REASONS: Record<string, string> = {
  rejected: 'a consumer rejected it, but it could be archived',
  delivery_limit: 'it was delivered too often and never archived',
  expired: 'it waited longer than a policy of the broker allows',
  maxlen: 'the queue was longer than a policy of the broker allows',
}

function reasonOf(letter: DeadLetter): string {
  if (!isArchivable(letter)) return 'not a JSON object'
  const { cause } = letter
  return cause === undefined ? 'not known' : (REASONS[cause.reason] ?? cause.reason)
}

/** @returns the start of the body on one line. Control characters, which a terminal would obey, are escaped. */
function previewOf(body: Buffer): string {
  const start = body.subarray(0, 4 * PREVIEW_CHARACTERS).toString()
  return escapeControls(start.replace(/\s+/g, ' ')).slice(0, PREVIEW_CHARACTERS)
}

function escapeControls(text: string): string {
  return text.replace(/[^\P{C}\n\t]/gu, character => {
    const code = character.codePointAt(0) ?? 0
    return `\\u{${code.toString(16)}}`
  })
}

function listText(description: string, count: number, letters: readonly Summary[]): string {
  const lines = letters.map(
    ({ id, deadSince, reason, bytes, preview }) =>
      `  ${id}  ${deadSince ?? '-'.padEnd(24)}  ${String(bytes).padStart(8)} bytes  ${reason}\n      ${preview}\n`,
  )
  const left = count - letters.length
  return [
    `${description}: ${count} dead letter${count === 1 ? '' : 's'}\n`,
    ...lines,
    left > 0 ? `  and ${left} more (see --limit)\n` : '',
  ].join('')
}

function letterText(letter: DeadLetter): string {
  const { id, body, cause, properties } = letter
  const lines = [
    `Id:          ${id}`,
    `Reason:      ${reasonOf(letter)}${cause === undefined ? '' : ` (${cause.reason})`}`,
    `Since:       ${cause?.at?.toISOString() ?? 'not known'}${cause === undefined ? '' : `, from queue ${cause.queue}`}`,
    `Bytes:       ${body.length}${isUtf8(body) ? '' : ', not UTF-8: --raw prints them unchanged'}`,
    `Properties:  ${escapeControls(JSON.stringify(properties))}`,
  ]
  return `${lines.join('\n')}\n\n${escapeControls(body.toString())}\n`
}

function notFound(ids: readonly string[], { description }: DeadLetters): string {
  return ids.map(id => `There is no dead letter ${id} in ${description}.\n`).join('')
}
