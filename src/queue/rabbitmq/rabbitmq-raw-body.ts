import type { Channel } from 'rabbitmq-client'

/** Nothing is decoded: see `handOutBytes`. */
export function bodyBytes(body: unknown): Buffer {
  if (!Buffer.isBuffer(body)) throw new TypeError('The client library has decoded a body.')
  return body
}

interface HeaderFrame {
  readonly fields: { contentEncoding?: string }
}

/**
 * The client library decodes a body that has a content type and no content encoding, and JSON loses digits
 * in that. It looks at the encoding when the body is complete, so one is put there when the header comes.
 */
export function handOutBytes(channel: Channel): void {
  const internals = channel as unknown as { _onHeader(frame: HeaderFrame): void }
  const onHeader = internals._onHeader.bind(channel)
  internals._onHeader = frame => {
    frame.fields.contentEncoding ||= 'identity'
    onHeader(frame)
  }
}
