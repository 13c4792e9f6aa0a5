import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { ConfigInvalid, FilterInvalid, ServerUnreachable } from '../errors.ts'
import { eventName } from '../event/event-name.ts'
import { withoutMembers } from '../event/json-members.ts'
import { parseFilter } from '../live/event-filter.ts'
import { readStream } from '../live/stream-reader.ts'
import { EVENTS_PER_SECOND_MAX } from '../live/viewer.ts'
import { readOwnConfig, type SettingFlags, tokenSettings } from './own-settings.ts'
import { defaultServerUrl, serverUrl } from './server-url.ts'

const EXIT_ERROR = 1
const NOTE_EVERY_MS = 1_000
/** Said by the line itself, or of no use to a reader. */
const NOT_IN_LINE = new Set(['event', 'messageId', 'receivedAt'])
/** What a terminal may take for a command, and what makes text read otherwise than it is (Unicode UTS #55). */
const NOT_PRINTED = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

export interface TailFlags extends SettingFlags {
  readonly url?: string
  readonly filter?: string
  readonly json?: boolean
}

interface ShownEvents {
  readonly events: readonly { readonly json: string }[]
  /** Events since the last message that were too many to be sent. */
  readonly omitted: number
}

/**
 * Writes events as they pass through a running server to standard output, until `stopping`. They are a copy:
 * what is archived stays the same.
 *
 * @returns the exit code: 0 where it was stopped; 1 where the server cannot be reached, refuses, or has gone.
 */
export async function tail(flags: TailFlags, env: NodeJS.ProcessEnv, stopping: AbortSignal): Promise<number> {
  const { stdout, stderr } = process
  const omitted = new OmittedCount(stderr)
  try {
    parseFilter(flags.filter ?? '')
    const url = flags.url === undefined ? defaultServerUrl(flags, env) : serverUrl(flags.url)
    const messages = readStream({
      url,
      filter: flags.filter,
      eventsPerSecond: EVENTS_PER_SECOND_MAX,
      token: readOwnConfig(tokenSettings, flags, env).uiToken,
      stopping,
    })
    for await (const { name, data } of messages) {
      if (name === 'hello') stderr.write(greeting(url, JSON.parse(data)))
      if (name !== 'events') continue
      const shown = JSON.parse(data) as ShownEvents
      omitted.add(shown.omitted)
      await write(stdout, shown.events.map(({ json }) => lineOf(json, flags)).join(''), stopping)
    }
    return 0
  } catch (error) {
    if (!isForTheUser(error)) throw error
    stderr.write(`frequency: ${(error as Error).message}\n`)
    return EXIT_ERROR
  } finally {
    omitted.say()
  }
}

function isForTheUser(error: unknown): boolean {
  return (
    error instanceof ServerUnreachable || error instanceof ConfigInvalid || error instanceof FilterInvalid
  )
}

function greeting(url: string, { workers }: { workers: number }): string {
  const share = workers > 1 ? `, those that one of its ${workers} workers takes` : ''
  return `Events of ${url}${share}; Ctrl-C ends this.\n`
}

/** Waits for a reader that is slower than the events: the server drops what we do not read meanwhile. */
async function write(stream: Writable, text: string, stopping: AbortSignal): Promise<void> {
  if (text === '' || stream.write(text)) return
  await once(stream, 'drain', { signal: stopping }).catch(() => {})
}

function lineOf(json: string, { json: isRaw }: TailFlags): string {
  if (isRaw) return `${json}\n`
  const fields = JSON.parse(json)
  const time = new Date(fields.receivedAt).toTimeString().slice(0, 'hh:mm:ss'.length)
  const rest = withoutMembers(Buffer.from(json), NOT_IN_LINE).toString()
  return `${printable(`${time}  ${eventName(fields)}  ${rest}`)}\n`
}

function printable(text: string): string {
  return text.replace(NOT_PRINTED, each => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Says how many events were left out, once a second at the most. */
class OmittedCount {
  readonly #notes: Writable
  #count = 0
  #saidMs = 0

  constructor(notes: Writable) {
    this.#notes = notes
  }

  add(count: number): void {
    this.#count += count
    if (performance.now() - this.#saidMs > NOTE_EVERY_MS) this.say()
  }

  say(): void {
    if (this.#count === 0) return
    this.#saidMs = performance.now()
    this.#notes.write(`… ${this.#count} more that were too many to show; --filter shows fewer.\n`)
    this.#count = 0
  }
}
