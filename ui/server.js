/**
 * How the page talks to the server: one stream of what happens, and objects to look into. Where the
 * server asks for a token it goes into a header, and never into a URL or a cookie: so no other site can
 * use it.
 */

const TOKEN_KEY = 'frequency-token'
const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 10_000
/** The server sends something every second. */
const SILENT_MS_MAX = 10_000

/** Takes the token out of `/#token=…`, by which a link can carry it. */
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
 * @throws {Refused} with the server's words
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
 * @property {(why: string) => void} lost it is tried again by itself
 * @property {(refused: Refused) => void} refused it is not tried again
 */

/**
 * Follows the stream, and connects again when it ends, until `stop`.
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
