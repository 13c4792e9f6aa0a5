/** Webhooks of other services, as events. */

import type { IncomingHttpHeaders } from 'node:http'
import { parse as parseJson } from 'secure-json-parse'
import { BodyInvalid } from '../errors.ts'
import { MESSAGE_ID_BYTES_MAX } from '../event/event.ts'
import { onOneLine } from '../event/json-members.ts'
import { readJsonOrForm } from './read-body.ts'

/**
 * Headers with the id of a delivery, which a retry repeats. The first one found counts: those of one service come
 * first.
 */
const DELIVERY_ID_HEADERS = [
  'x-github-delivery',
  'x-gitea-delivery',
  'x-shopify-webhook-id',
  'x-amz-sns-message-id',
  'x-request-uuid', // Bitbucket
  'x-atlassian-webhook-identifier',
  'x-zendesk-webhook-invocation-id',
  'i-twilio-idempotency-token',
  'linear-delivery',
  'svix-id',
  'webhook-id', // Standard Webhooks
  'idempotency-key', // GitLab
]

/** Length limit of a URL that is logged. */
const URL_CHARS_MAX = 2_000
/** A header value that can be a `messageId`: printable ASCII without spaces. */
const ID = new RegExp(`^[\\x21-\\x7e]{1,${MESSAGE_ID_BYTES_MAX}}$`)

/** The id of a webhook's delivery; undefined if the sender gives none that can be a `messageId`. */
export function deliveryIdOf(headers: IncomingHttpHeaders): string | undefined {
  const { 'ce-id': eventId, 'ce-source': eventSource } = headers
  // CloudEvents, section 3.1.1: an id is unique within its source only.
  if (typeof eventId === 'string' && typeof eventSource === 'string') {
    const id = `${eventSource}#${eventId}`
    return ID.test(id) ? id : undefined
  }
  for (const name of DELIVERY_ID_HEADERS) {
    const id = headers[name]
    if (typeof id === 'string' && ID.test(id)) return id
  }
  return undefined
}

/**
 * The body of a webhook as JSON. Without the content type of a form it is read as JSON: SNS labels its JSON as plain
 * text, and other services give no content type.
 *
 * @throws BodyInvalid if it is neither JSON nor a form
 */
export function readHookBody(body: Buffer, contentType = ''): Buffer {
  if (/^multipart\//i.test(contentType))
    throw new BodyInvalid('multipart/form-data cannot be read: have it sent as JSON, or as a plain form.')
  return readJsonOrForm(body, contentType).json
}

/**
 * The event of a webhook: the body becomes its `properties`. A body that is not an object becomes `{"body": …}`.
 *
 * @param body JSON; undefined if the request had no body
 */
export function hookEvent(
  name: string,
  messageId: string | undefined,
  body: Buffer | undefined,
): { json: Buffer; fields: Record<string, unknown> } {
  const text = onOneLine(body?.toString().trim() ?? '')
  const properties = text.startsWith('{') || text === '' ? text || '{}' : `{"body":${text}}`
  const own = messageId === undefined ? {} : { messageId }
  const members = JSON.stringify({ event: name, ...own }).slice(0, -1)
  return {
    json: Buffer.from(`${members},"properties":${properties}}`),
    fields: { event: name, ...own, properties: {} },
  }
}

/** The URL that confirms a subscription to an Amazon SNS topic; undefined if the request does not ask for that. */
export function snsConfirmationUrl(
  headers: IncomingHttpHeaders,
  body: Buffer | undefined,
): string | undefined {
  if (headers['x-amz-sns-message-type'] !== 'SubscriptionConfirmation' || body === undefined) return undefined
  const { SubscribeURL: url } = Object(parseJson(body.toString()))
  return typeof url === 'string' ? url.slice(0, URL_CHARS_MAX) : undefined
}
