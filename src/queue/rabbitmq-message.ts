/**
 * Events as an AMQP message:
 *
 *     body                the events' JSON, UTF-8, one a line, with no line feed at the end
 *     type                frequency.events
 *     content_type        application/json for one event, application/x-ndjson for several
 *     content_encoding    utf-8
 *     frequency-count     a header: how many events
 *     frequency-ids       a header: 16 bytes an event, its id as archives compare it (message-id.ts), in
 *                         base64, because the client library encodes no bytes
 *
 * So a message with one event is plain JSON to anyone.
 */

import type { AsyncMessage, Envelope } from 'rabbitmq-client'
import { isStamped } from '../event.ts'
import type { EventGroup } from '../event-group.ts'
import { ID_BYTES } from '../message-id.ts'

const TYPE = 'frequency.events'
const COUNT_HEADER = 'frequency-count'
const IDS_HEADER = 'frequency-ids'

export function messageProperties({ count, ids }: EventGroup): Envelope {
  return {
    type: TYPE,
    contentType: count === 1 ? 'application/json' : 'application/x-ndjson',
    // Without an encoding other programs that use this client library would get JSON parsed, with its digits lost.
    contentEncoding: 'utf-8',
    headers: { [COUNT_HEADER]: count, [IDS_HEADER]: ids.toString('base64') },
  }
}

/** Undefined where the message is none of ours. */
export function groupOfMessage({ type, headers }: AsyncMessage, body: Buffer): EventGroup | undefined {
  if (type !== TYPE || headers === undefined || !isStamped(body)) return undefined
  const { [COUNT_HEADER]: count, [IDS_HEADER]: text } = headers
  if (typeof text !== 'string') return undefined
  const ids = Buffer.from(text, 'base64')
  if (ids.length !== count * ID_BYTES) return undefined
  return { count, ids, lines: body }
}
