import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { ConfigInvalid, FilterInvalid, ServerUnreachable } from '../errors.ts'
import { eventName } from '../event/event-name.ts'
import { withoutMembers } from '../event/json-members.ts'
import { parseFilter } from '../live/event-filter.ts'
import { readStream } from '../live/stream-reader.ts'
import { EVENTS_PER_SECOND_MAX } from '../live/viewer.ts'
import { escapeControls } from './escape-controls.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { readOwnConfig, type SettingFlags, tokenSettings } from './own-settings.ts'
import { defaultServerUrl, serverUrl } from './server-url.ts'

const NOTE_INTERVAL_MS = 1_000
/** Left out of the JSON, because the line shows them in another form, or a reader does not need them. */
const OMITTED_MEMBERS = new Set(['event', 'messageId', 'receivedAt'])

export interface TailFlags extends SettingFlags {
  readonly url?: string
  readonly filter?: string
  readonly json?: boolean
}

interface ShownEvents {
  readonly events: readonly { readonly json: string }[]
  /** Events since the last message that were not sent, because there were too many. */
  readonly omitted: number
}

/**
 * Writes copies of the events that a running server takes to standard output, until `stopping` is aborted.
 *
 * @returns the exit code: 0 if it was stopped, 2 if the server cannot be reached, refuses or closes the connection
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
    return EXIT_CODES.done
  } catch (error) {
    if (!isForTheUser(error)) throw error
    stderr.write(`frequency: ${(error as Error).message}\n`)
    return EXIT_CODES.unusable
  } finally {
    omitted.report()
  }
}

function isForTheUser(error: unknown): boolean {
  return (
    error instanceof ServerUnreachable || error instanceof ConfigInvalid || error instanceof FilterInvalid
  )
}

function greeting(url: string, { workers }: { workers: number }): string {
  const share = workers > 1 ? `, from one of its ${workers} workers` : ''
  return `Events of ${url}${share}. Stop with Ctrl-C.\n`
}

/** Waits while the reader of the output is slow. Meanwhile nothing is read, and the server drops events. */
async function write(stream: Writable, text: string, stopping: AbortSignal): Promise<void> {
  if (text === '' || stream.write(text)) return
  await once(stream, 'drain', { signal: stopping }).catch(() => {})
}

function lineOf(json: string, { json: isRaw }: TailFlags): string {
  if (isRaw) return `${json}\n`
  const fields = JSON.parse(json)
  const time = new Date(fields.receivedAt).toTimeString().slice(0, 'hh:mm:ss'.length)
  const rest = withoutMembers(Buffer.from(json), OMITTED_MEMBERS).toString()
  return `${escapeControls(`${time}  ${eventName(fields)}  ${rest}`)}\n`
}

/** Counts omitted events, and reports their number at most once a second. */
class OmittedCount {
  readonly #output: Writable
  #count = 0
  #reportedAt = 0

  constructor(output: Writable) {
    this.#output = output
  }

  add(count: number): void {
    this.#count += count
    if (performance.now() - this.#reportedAt > NOTE_INTERVAL_MS) this.report()
  }

  report(): void {
    if (this.#count === 0) return
    this.#reportedAt = performance.now()
    this.#output.write(`… ${this.#count} more events were not shown. Use --filter to see fewer.\n`)
    this.#count = 0
  }
}
