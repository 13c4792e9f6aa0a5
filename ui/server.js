/**
 * The page's requests to the server: one stream of messages, and the objects that the user opens. The token, if the
 * server needs one, is sent in a header only, not in a URL or a cookie. So other sites cannot use it.
 */

const TOKEN_KEY = 'frequency-token'
const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 10_000
/** The server sends its state every second. After this time without a byte the page connects again. */
const SILENT_MS_MAX = 10_000

/** A link may have the token in its fragment, `/#token=…`. Stores the token and removes it from the address. */
function tokenFromLink() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')
  if (token === null) return
  sessionStorage.setItem(TOKEN_KEY, token)
  history.replaceState(null, '', location.pathname)
}

tokenFromLink()

/** @param {string} token */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token)
}

export class Refused extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @throws {Refused} for a status other than 2xx, with the server's message
 */
export async function ask(path, signal) {
  const token = sessionStorage.getItem(TOKEN_KEY)
  const response = await fetch(path, {
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    cache: 'no-store',
    ...(signal !== undefined && { signal }),
  })
  if (response.ok) return response
  const text = await response.text()
  throw new Refused(response.status, messageOf(text))
}

/** @param {string} text */
function messageOf(text) {
  try {
    return String(JSON.parse(text).message)
  } catch {
    return text
  }
}

/**
 * @typedef {object} StreamHandler
 * @property {(name: string, data: any) => void} message
 * @property {(why: string) => void} lost the stream has ended; it is opened again automatically
 * @property {(refused: Refused) => void} refused the server refused the stream (4xx); it is not opened again
 */

/**
 * Reads the stream until `stop` is called. Connects again, with growing pauses, when the stream ends.
 *
 * @param {string} filter
 * @param {StreamHandler} handler
 * @returns {{ stop(): void }}
 */
export function follow(filter, handler) {
  const stopping = new AbortController()
  void keepFollowing(filter, handler, stopping.signal)
  return { stop: () => stopping.abort() }
}

/** @param {string} filter @param {StreamHandler} handler @param {AbortSignal} stopping */
async function keepFollowing(filter, handler, stopping) {
  let failures = 0
  while (!stopping.aborted) {
    try {
      await readStream(filter, stopping, (name, data) => {
        failures = 0
        handler.message(name, data)
      })
      if (!stopping.aborted) handler.lost('The server has ended the connection.')
    } catch (error) {
      if (stopping.aborted) return
      if (error instanceof Refused && error.status >= 400 && error.status < 500) {
        handler.refused(error)
        return
      }
      handler.lost(error instanceof Refused ? error.message : 'The server does not answer.')
    }
    const ms = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** failures++)
    await new Promise(resolve => setTimeout(resolve, ms))
  }
}

/** @param {string} filter @param {AbortSignal} stopping @param {(name: string, data: any) => void} message */
async function readStream(filter, stopping, message) {
  const silence = new AbortController()
  const giveUp = () => silence.abort()
  let timer = setTimeout(giveUp, SILENT_MS_MAX)
  const query = filter === '' ? '' : `?filter=${encodeURIComponent(filter)}`
  try {
    const response = await ask(`ui/stream${query}`, AbortSignal.any([stopping, silence.signal]))
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader()
    const decoder = new TextDecoder()
    let text = ''
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      clearTimeout(timer)
      timer = setTimeout(giveUp, SILENT_MS_MAX)
      const blocks = (text + decoder.decode(value, { stream: true })).split('\n\n')
      text = blocks.pop() ?? ''
      for (const block of blocks) {
        const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(block) ?? []
        if (name !== undefined && data !== undefined) message(name, JSON.parse(data))
      }
    }
  } finally {
    clearTimeout(timer)
  }
}
