import createError from '@fastify/error'

/** A setting that cannot work. The message names the setting, in one line. */
export const ConfigInvalid = createError('FRQ_CONFIG_INVALID', '%s')

/** Another process has taken the directory for itself. */
export const DirectoryInUse = createError('FRQ_DIRECTORY_IN_USE', 'another process is using it')

/** The body is not JSON, not UTF-8, or holds a key that would poison a prototype. */
export const BodyInvalid = createError('FRQ_BODY_INVALID', '%s', 400)

/** The body was read, but it is not an event. The message names the field and says what it must be. */
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

/** An event of a batch is larger than an event may be. */
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

/** None of the events of a batch was taken. `refused` says why, one by one; libraries show the message alone. */
export const BatchRefused = createError(
  'FRQ_BATCH_REFUSED',
  'No event of the batch can be taken; %d refused, the first (index %d) because: %s',
  400,
)

/** What came on a connection is no HTTP request that can be read. */
export const RequestInvalid = createError('FRQ_REQUEST_INVALID', 'This is no valid HTTP request.', 400)

/** Not a 408: clients of this kind send again what got a 503, and drop what got a 408. */
export const RequestTooSlow = createError(
  'FRQ_REQUEST_TOO_SLOW',
  'The request was not complete in time (REQUEST_MS_MAX): send it again, faster or with less in it.',
  503,
)

/** The bodies of all requests together take more memory than they may. */
export const BodiesTooMany = createError(
  'FRQ_BODIES_TOO_MANY',
  'The server holds as many request bodies as it may (BODIES_BYTES_MAX): send it again later.',
  503,
)

export const HeadersTooLarge = createError(
  'FRQ_HEADERS_TOO_LARGE',
  'The request headers are too large: send fewer or shorter ones.',
  431,
)

/** The request has no write key, or one that is not known. What it had is not repeated. */
export const WriteKeyInvalid = createError('FRQ_WRITE_KEY_INVALID', '%s', 401)

/** The message says which limit, and when there is room again. */
export const RateExceeded = createError('FRQ_RATE_EXCEEDED', '%s', 429)

export const RouteNotFound = createError('FRQ_NOT_FOUND', 'There is nothing at %s %s.', 404)

export const MethodNotAllowed = createError('FRQ_METHOD_NOT_ALLOWED', '%s answers %s only.', 405)

/** Whoever asks for the live page may not see it. */
export const UiForbidden = createError('FRQ_UI_FORBIDDEN', '%s', 403)

export const UiTokenWrong = createError(
  'FRQ_UI_TOKEN_WRONG',
  'The live page wants the token of UI_TOKEN, as "authorization: Bearer …".',
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

/** A server that a command asks does not answer, or does not want to. */
export const ServerUnreachable = createError('FRQ_SERVER_UNREACHABLE', '%s')

/** It may be in the archive all the same. */
export const ObjectNotListed = createError(
  'FRQ_OBJECT_NOT_LISTED',
  '%s is not among the last objects that were archived here.',
  404,
)

/** Nothing took the event durably. It was not accepted, and the client should send it again. */
export const QueueUnavailable = createError('FRQ_QUEUE_UNAVAILABLE', '%s', 503)

/** The store did not take, or does not have, an object. Trying again later may help. */
export const StoreUnavailable = createError('FRQ_STORE_UNAVAILABLE', '%s', 503)

/** A record of the archive's log cannot be used. Archiving stops there until a person has looked. */
export const LogDamaged = createError(
  'FRQ_LOG_DAMAGED',
  'The log record %d cannot be used: %s. See "frequency log repair --help".',
  503,
)

/** The archive and its log do not belong together, as a person has to see. The message says what to do. */
export const LogRefused = createError('FRQ_LOG_REFUSED', '%s', 503)

/** The store has no object of that key. */
export const ObjectNotFound = createError('FRQ_OBJECT_NOT_FOUND', 'The archive has no object %s.', 404)

/** Whether an error is one of these, and says what to mend; any other is a mistake of ours. */
export function isRefusal(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('FRQ_')
}
