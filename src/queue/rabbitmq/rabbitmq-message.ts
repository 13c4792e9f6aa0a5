/**
 * Events as an AMQP message:
 *
 *     body                the events as JSON, UTF-8, one per line, without a final line feed
 *     type                frequency.events
 *     content_type        application/json for one event, application/x-ndjson for several
 *     content_encoding    utf-8
 *
 * and these headers:
 *
 *     frequency-count        number of events
 *     frequency-ids          the events' identities (message-id.ts), 16 bytes each, in base64, because the client
 *                            library cannot encode bytes
 *     frequency-ids-version  DIGEST_VERSION. If it is missing or different, frequency-ids is ignored, and the
 *                            identities are computed from the body
 *     frequency-traces       only if an event has a trace: 27 bytes for each such event (event-trace.ts), in base64
 *
 * So a message with one event is plain JSON for every program.
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

/** The AMQP properties of a message with these events. */
export function messageProperties({ count, ids, traces }: EventGroup): Envelope {
  return {
    type: TYPE,
    contentType: count === 1 ? 'application/json' : 'application/x-ndjson',
    // Without an encoding, programs with this client library would get parsed JSON, whose numbers lose digits.
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

/** The events of a message; undefined if another program published it. */
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

/** Undefined if the header is missing or malformed: the event counts more than its trace. */
function tracesIn({ [TRACES_HEADER]: text }: Record<string, unknown>): Buffer | undefined {
  if (typeof text !== 'string') return undefined
  const traces = Buffer.from(text, 'base64')
  return areTraces(traces) ? traces : undefined
}
