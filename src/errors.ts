import createError from '@fastify/error'

/** A setting cannot work. The message is one line and names the setting. */
export const ConfigInvalid = createError('FRQ_CONFIG_INVALID', '%s')

/** Another process holds the lock of the directory. */
export const DirectoryInUse = createError('FRQ_DIRECTORY_IN_USE', 'another process is using it')

/** The body is not JSON, not UTF-8, or has a key that would poison a prototype (`__proto__`). */
export const BodyInvalid = createError('FRQ_BODY_INVALID', '%s', 400)

/** The body is JSON, but not an event. The message names the field and says what it must be. */
export const EventInvalid = createError('FRQ_EVENT_INVALID', '%s', 400)

export const BodyTooLarge = createError(
  'FRQ_BODY_TOO_LARGE',
  'The body is larger than %d bytes (%s): send less in one request.',
  413,
)

export const MediaTypeUnsupported = createError('FRQ_MEDIA_TYPE_UNSUPPORTED', 'Send %s.', 415)

export const EncodingUnsupported = createError(
  'FRQ_ENCODING_UNSUPPORTED',
  'Send the body as it is, or with content-encoding gzip.',
  415,
)

/** One event of a batch is larger than the limit for one event. */
export const EventTooLarge = createError(
  'FRQ_EVENT_TOO_LARGE',
  'The event is larger than %d bytes (%s): send less in it.',
  413,
)

/** More events than one request may carry. */
export const BatchTooLong = createError(
  'FRQ_BATCH_TOO_LONG',
  'The batch has more than %d events: send fewer in one request.',
  413,
)

/**
 * No event of a batch was accepted. The member `refused` of the answer gives the reason for each event. Client
 * libraries print the message only, so the message has the first reason and the count.
 */
export const BatchRefused = createError(
  'FRQ_BATCH_REFUSED',
  'No event of the batch can be taken; %d refused, the first (index %d) because: %s',
  400,
)

/** The bytes on a connection are not a valid HTTP request. */
export const RequestInvalid = createError('FRQ_REQUEST_INVALID', 'This is not a valid HTTP request.', 400)

/** 503 and not 408: analytics clients retry after a 503, and drop the events after a 408. */
export const RequestTooSlow = createError(
  'FRQ_REQUEST_TOO_SLOW',
  'The request was not complete in time (REQUEST_MS_MAX): send it again, faster or with less in it.',
  503,
)

/** The bodies of all open requests together exceed BODIES_BYTES_MAX. */
export const BodiesTooMany = createError(
  'FRQ_BODIES_TOO_MANY',
  'Open requests already hold as many bytes of bodies as BODIES_BYTES_MAX allows: send this one again later.',
  503,
)

export const HeadersTooLarge = createError(
  'FRQ_HEADERS_TOO_LARGE',
  'The request headers are too large: send fewer or shorter ones.',
  431,
)

/** The request has no write key, or an unknown one. The message does not repeat the key. */
export const WriteKeyInvalid = createError('FRQ_WRITE_KEY_INVALID', '%s', 401)

/** The message names the limit, and says after how many seconds the client may send again. */
export const RateExceeded = createError('FRQ_RATE_EXCEEDED', '%s', 429)

export const RouteNotFound = createError('FRQ_NOT_FOUND', 'There is nothing at %s %s.', 404)

export const MethodNotAllowed = createError('FRQ_METHOD_NOT_ALLOWED', '%s answers %s only.', 405)

/** The client may not see the live page. */
export const UiForbidden = createError('FRQ_UI_FORBIDDEN', '%s', 403)

export const UiTokenWrong = createError(
  'FRQ_UI_TOKEN_WRONG',
  'The live page needs the token of UI_TOKEN, as "authorization: Bearer …".',
  401,
)

export const FilterInvalid = createError(
  'FRQ_FILTER_INVALID',
  'A filter is a part of a name (signed_up), or a field and its value (user_id=42, properties.plan=pro).',
  400,
)

export const ViewersTooMany = createError(
  'FRQ_VIEWERS_TOO_MANY',
  'There are %d viewers already, or the server is shutting down: try again later.',
  503,
)

/** The server that a command asks does not answer, or refuses. */
export const ServerUnreachable = createError('FRQ_SERVER_UNREACHABLE', '%s')

/** The object is not among the last objects that the server remembers. It may exist in the archive. */
export const ObjectNotListed = createError(
  'FRQ_OBJECT_NOT_LISTED',
  '%s is not among the last objects that were archived here.',
  404,
)

/** Neither broker nor disk took the event durably. It was not accepted: the client should send it again. */
export const QueueUnavailable = createError('FRQ_QUEUE_UNAVAILABLE', '%s', 503)

/** The store could not write, read, list or delete an object. A retry may succeed. */
export const StoreUnavailable = createError('FRQ_STORE_UNAVAILABLE', '%s', 503)

/** A record of the archive's log cannot be used. Archiving stops at this record until a person has repaired the log. */
export const LogDamaged = createError(
  'FRQ_LOG_DAMAGED',
  'The log record %d cannot be used: %s. See "frequency log repair --help".',
  503,
)

/** The archive and its log do not belong together. A person has to decide; the message says what to do. */
export const LogRefused = createError('FRQ_LOG_REFUSED', '%s', 503)

/** A query has no answer, or none that is complete. The message says why. */
export const QueryFailed = createError('FRQ_QUERY_FAILED', '%s')

/** The log or a file of the archive's table cannot be used. The message says what to do. */
export const TableDamaged = createError('FRQ_TABLE_DAMAGED', '%s')

/** A replay cannot go on. What was sent is in its checkpoint. */
export const ReplayStopped = createError('FRQ_REPLAY_STOPPED', '%s')

/** The store has no object with this key. */
export const ObjectNotFound = createError('FRQ_OBJECT_NOT_FOUND', 'The archive has no object %s.', 404)

/** Whether `error` is one of the errors above, so that its message says what to correct. Any other error is a bug. */
export function isRefusal(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('FRQ_')
}
