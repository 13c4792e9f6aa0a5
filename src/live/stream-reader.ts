import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { ServerUnreachable } from '../errors.ts'
import { failureReason } from '../process/failure-reason.ts'

/** A working server sends its state every second. After this time without a line it counts as unreachable. */
const SILENT_MS_MAX = 10_000

export interface StreamOptions {
  /** The server: `http://127.0.0.1:4000`. */
  readonly url: string
  readonly filter: string | undefined
  readonly eventsPerSecond: number
  /** The value of UI_TOKEN, if the server has one. */
  readonly token: string | undefined
  readonly stopping: AbortSignal
}

export interface StreamMessage {
  readonly name: string
  /** JSON */
  readonly data: string
}

/**
 * Yields the messages of a server's live stream, until `stopping` is aborted.
 *
 * @throws ServerUnreachable if the server does not answer, refuses, ends the stream, or sends nothing for 10 s
 */
export async function* readStream(options: StreamOptions): AsyncIterable<StreamMessage> {
  const { url, stopping } = options
  const silence = new AbortController()
  const listen = () => setTimeout(() => silence.abort(), SILENT_MS_MAX)
  let timer = listen()
  try {
    const response = await connect(options, AbortSignal.any([stopping, silence.signal]))
    let name = ''
    for await (const line of linesOf(response)) {
      clearTimeout(timer)
      timer = listen()
      if (line.startsWith('event: ')) name = line.slice('event: '.length)
      else if (line.startsWith('data: ')) yield { name, data: line.slice('data: '.length) }
    }
    throw new ServerUnreachable(`${url} has ended the connection.`)
  } catch (error) {
    if (stopping.aborted) return
    if (error instanceof ServerUnreachable) throw error
    const reason = silence.signal.aborted
      ? `it has sent nothing for ${SILENT_MS_MAX / 1000} s`
      : failureReason(error)
    throw new ServerUnreachable(`${url} cannot be reached: ${reason}.`, { cause: error })
  } finally {
    clearTimeout(timer)
  }
}

async function connect(
  { url, filter, eventsPerSecond, token }: StreamOptions,
  signal: AbortSignal,
): Promise<Response> {
  const stream = new URL('ui/stream', url.endsWith('/') ? url : `${url}/`)
  stream.searchParams.set('events', String(eventsPerSecond))
  if (filter !== undefined) stream.searchParams.set('filter', filter)
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const response = await fetch(stream, { headers, signal })
  if (response.ok) return response
  throw new ServerUnreachable(`${url} refuses: ${refusalOf(response.status, await response.text())}`)
}

function linesOf({ body }: Response): AsyncIterable<string> {
  return createInterface({ input: Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]) })
}

function refusalOf(status: number, text: string): string {
  if (status === 404)
    return 'it shows no events there (UI=off, the role archive, another port: ADMIN_PORT, or another program).'
  try {
    return String(JSON.parse(text).message)
  } catch {
    return `it answers ${status}, and is not a frequency server.`
  }
}
