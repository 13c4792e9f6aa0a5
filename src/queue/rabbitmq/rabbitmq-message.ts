/**
 * Events as an AMQP message:
 *
 *     body                the events' JSON, UTF-8, one a line, with no line feed at the end
 *     type                frequency.events
 *     content_type        application/json for one event, application/x-ndjson for several
 *     content_encoding    utf-8
 *     frequency-count     a header: how many events
 *     frequency-ids       a header: 16 bytes an event, its identity as archives compare it (message-id.ts),
 *                         in base64, because the client library encodes no bytes
 *     frequency-ids-version  a header: DIGEST_VERSION. If it is missing, or another one, frequency-ids is not
 *                         read, and the identities are made of the body
 *     frequency-traces    a header, where events came with a trace: 27 bytes for each of those, in base64
 *                         (event-trace.ts)
 *
 * So a message with one event is plain JSON to anyone.
 */

import type { AsyncMessage, Envelope } from 'rabbitmq-client'
import { isStamped } from '../../event/event.ts'
import { type EventGroup, identitiesOf } from '../../event/event-group.ts'
import { areTraces } from '../../event/event-trace.ts'
import { DIGEST_VERSION, ID_BYTES } from '../../event/message-id.ts'

const TYPE = 'frequency.events'
const COUNT_HEADER = 'frequency-count'
const IDS_HEADER = 'frequency-ids'
const IDS_VERSION_HEADER = 'frequency-ids-version'
const TRACES_HEADER = 'frequency-traces'

export function messageProperties({ count, ids, traces }: EventGroup): Envelope {
  return {
    type: TYPE,
    contentType: count === 1 ? 'application/json' : 'application/x-ndjson',
    // Without an encoding other programs that use this client library would get JSON parsed, with its digits lost.
    contentEncoding: 'utf-8',
    headers: headersOf(count, ids, traces),
  }
}

function headersOf(count: number, ids: Buffer, traces: Buffer | undefined): Record<string, unknown> {
  const headers: Record<string, unknown> = {
    [COUNT_HEADER]: count,
    [IDS_HEADER]: ids.toString('base64'),
    [IDS_VERSION_HEADER]: DIGEST_VERSION,
  }
  if (traces !== undefined) headers[TRACES_HEADER] = traces.toString('base64')
  return headers
}

/** Undefined where the message is none of ours. */
export function groupOfMessage(
  { type, headers }: Pick<AsyncMessage, 'type' | 'headers'>,
  body: Buffer,
): EventGroup | undefined {
  if (type !== TYPE || headers === undefined || !isStamped(body)) return undefined
  const { [COUNT_HEADER]: count, [IDS_VERSION_HEADER]: version } = headers
  if (!Number.isInteger(count) || count < 1) return undefined
  const ids = version === DIGEST_VERSION ? idsIn(headers, count) : identitiesOf({ count, lines: body })
  return ids && { count, ids, lines: body, traces: tracesIn(headers) }
}

function idsIn({ [IDS_HEADER]: text }: Record<string, unknown>, count: number): Buffer | undefined {
  if (typeof text !== 'string') return undefined
  const ids = Buffer.from(text, 'base64')
  return ids.length === count * ID_BYTES ? ids : undefined
}

/** What cannot be read as traces is none: an event is worth more than its trace. */
function tracesIn({ [TRACES_HEADER]: text }: Record<string, unknown>): Buffer | undefined {
  if (typeof text !== 'string') return undefined
  const traces = Buffer.from(text, 'base64')
  return areTraces(traces) ? traces : undefined
}
