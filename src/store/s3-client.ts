/** The S3 client: its settings, its middleware, and the meaning of its errors. */
import { homedir } from 'node:os'
import { S3Client, S3ServiceException } from '@aws-sdk/client-s3'
import { awsEndpoint, checkAwsSettings } from '../config/aws-settings.ts'
import type { Config } from '../config/config.ts'
import { ConfigInvalid, StoreUnavailable } from '../errors.ts'
import { failureReason } from '../process/failure-reason.ts'
import type { StoreDate } from './store.ts'

const CONNECT_MS_MAX = 5_000
const ATTEMPTS_MAX = 4
/** Debian's name for a home directory that does not exist. */
const NO_HOME = '/nonexistent'

/** Codes of failures before any answer. */
const NOT_REACHED = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'EPROTO',
  'HPE_INVALID_CONSTANT',
])

/** What to correct, by the status of the answer to HeadBucket. */
const REFUSALS: Record<number, string> = {
  301: 'the bucket is in another region: set AWS_REGION',
  400: 'the request was refused: check AWS_REGION and the credentials',
  401: 'the credentials were refused',
  403: 'access was refused: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do',
  404: 'the bucket does not exist',
}

/**
 * Creates a client with the AWS SDK's own settings (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL_S3`,
 * profiles, roles …).
 *
 * @throws ConfigInvalid if one of them cannot work.
 */
export function createS3Client({
  s3ForcePathStyle,
  s3IdleMsMax,
}: Pick<Config, 's3ForcePathStyle' | 's3IdleMsMax'>): S3Client {
  checkAwsSettings(process.env)
  const hasEndpoint = awsEndpoint(process.env) !== undefined
  const hasRegion = (process.env.AWS_REGION ?? '') !== ''
  // The SDK warns about the Node versions of its future releases. That concerns developers, not operators.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
  requireHome()
  const client = new S3Client({
    forcePathStyle: s3ForcePathStyle,
    maxAttempts: ATTEMPTS_MAX,
    // Servers other than AWS have no regions, but a signature needs one.
    ...(hasEndpoint && !hasRegion && { region: 'us-east-1' }),
    requestHandler: {
      connectionTimeout: CONNECT_MS_MAX,
      // Not `requestTimeout`: that limits the whole request, and a part may take long on a slow network.
      socketTimeout: s3IdleMsMax,
    },
  })
  acceptAnswersAcrossClocks(client)
  return client
}

/**
 * The SDK looks for its files in the home directory, and fails if there is none. A user of a container that is not in
 * /etc/passwd has none.
 */
function requireHome(): void {
  try {
    homedir()
  } catch {
    process.env.HOME = NO_HOME
  }
}

type Middleware = Parameters<S3Client['middlewareStack']['addRelativeTo']>[0]
type Handler = (args: object) => Promise<object>

/** Statuses that are answers, not failures: no such object, the object exists, the range is past the end. */
const ANSWER_STATUSES = new Set([404, 412, 416])

/**
 * Prevents retries of answers. If the local clock differs from the server's by some minutes, the SDK takes every
 * error status for a wrong signature, and sends the request four times.
 */
function acceptAnswersAcrossClocks(client: S3Client): void {
  const accept = (next: Handler) => async (args: object) => {
    try {
      return await next(args)
    } catch (error) {
      if (error instanceof S3ServiceException && ANSWER_STATUSES.has(error.$metadata.httpStatusCode ?? 0))
        Object.assign(error.$metadata, { clockSkewCorrected: false })
      throw error
    }
  }
  client.middlewareStack.addRelativeTo(accept as unknown as Middleware, {
    relation: 'before',
    toMiddleware: 'httpSigningMiddleware',
    name: 'acceptAnswersAcrossClocks',
  })
}

/**
 * Records the `Date` header of the answer to one command, also of an error. To be called before the command is sent.
 *
 * @returns a function that returns the date of the last attempt's answer
 */
export function watchDate(command: { readonly middlewareStack: object }): () => StoreDate {
  let date: StoreDate
  // The stack of a command has other input types than that of a client, and the same behaviour.
  const stack = command.middlewareStack as S3Client['middlewareStack']
  stack.add(
    next => async args => {
      // Of several attempts, the last answer counts.
      date = undefined
      const result = await next(args)
      date = dateOf(result.response)
      return result
    },
    // With low priority it sees the raw answer, before the SDK turns an error status into an exception.
    { step: 'deserialize', priority: 'low', name: 'watchDate' },
  )
  return () => date
}

/** Calls `onRetry` each time the client sends a request again. */
export function watchRetries(client: S3Client, onRetry: () => void): void {
  client.middlewareStack.add(
    next => async args => {
      const { request } = args as { request?: { headers?: Record<string, string> } }
      if (request?.headers?.['amz-sdk-request']?.startsWith('attempt=1;') === false) onRetry()
      return next(args)
    },
    // With low priority it is inside the SDK's retry loop.
    { step: 'finalizeRequest', priority: 'low', name: 'watchRetries' },
  )
}

/** The `Date` header of an answer, in milliseconds since 1970, whole seconds; undefined if it is missing. */
export function dateOf(response: unknown): StoreDate {
  const date = Date.parse((response as { headers?: Record<string, string> }).headers?.date ?? '')
  return Number.isNaN(date) ? undefined : date
}

/** The HTTP status of a server's error; undefined if the server has not answered. */
export function statusOf(error: unknown): number | undefined {
  return error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined
}

/** Whether the error says that no object has that key. False if the bucket is missing. */
export function isNoSuchKey(error: unknown): boolean {
  return error instanceof S3ServiceException && error.name === 'NoSuchKey'
}

/** Turns a failed request into ConfigInvalid if a setting has to be corrected, else into StoreUnavailable. */
export function asStoreError(cause: unknown, bucket: string): Error {
  if (cause instanceof ConfigInvalid) return cause
  const status = statusOf(cause)
  const refusal = status === undefined ? refusalWithoutAnswer(cause) : REFUSALS[status]
  if (refusal !== undefined) return new ConfigInvalid(`ARCHIVE_URL: s3://${bucket}: ${refusal}.`, { cause })
  return new StoreUnavailable(`S3 cannot be used now: ${messageOf(cause)}`, { cause })
}

/** What to correct if the SDK fails before it sends a request. */
function refusalWithoutAnswer(cause: unknown): string | undefined {
  const { name, message } = cause as Error
  if (name === 'CredentialsProviderError') {
    const profile = process.env.AWS_PROFILE ?? ''
    return profile === ''
      ? 'there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY'
      : `AWS_PROFILE names ${JSON.stringify(profile)}, which has no credentials in ~/.aws: name another profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead`
  }
  if (message === 'Region is missing') return 'no region is set: set AWS_REGION'
  return undefined
}

/** The error for a server that answers a conditional PutObject with 501. */
export function conditionUnknown(cause: unknown): Error {
  return new ConfigInvalid(
    'ARCHIVE_URL: this S3 server does not know conditional writes (If-None-Match on PutObject). Two writers could overwrite each other. Use another server, or a newer version.',
    { cause },
  )
}

/** The error for a server that accepts a second conditional PutObject. */
export function conditionIgnored(): Error {
  return new ConfigInvalid(
    'ARCHIVE_URL: this S3 server ignores If-None-Match on PutObject. Two writers could overwrite each other. Use another server, or a newer version.',
  )
}

/** An error's message, on one line. If the server is not reached it names the server, and the variable with its address. */
export function messageOf(cause: unknown): string {
  const { name, message, code } = cause as NodeJS.ErrnoException
  if (code === undefined || !NOT_REACHED.has(code))
    return [code ?? name, message]
      .filter(part => part !== undefined && part !== '')
      .join(': ')
      .replace(/\s+/g, ' ')
  const endpoint = awsEndpoint(process.env)
  if (endpoint === undefined) return `S3 of AWS is not reached: ${failureReason(cause)}`
  return `${endpoint.variable} (${endpoint.url.origin}): ${failureReason(cause)}${hostHint(cause, endpoint.url)}`
}

/** Without S3_FORCE_PATH_STYLE the SDK asks the host `bucket.host`, which most servers of one's own have no name for. */
function hostHint(cause: unknown, { hostname: named }: URL): string {
  const { code, hostname = named } = cause as NodeJS.ErrnoException & { hostname?: string }
  if (code !== 'ENOTFOUND' || hostname === named) return ''
  return `. The bucket was put before the host: S3_FORCE_PATH_STYLE=true puts it into the path`
}

/** The message of a failed read. AWS answers 403 for a missing object if the caller may not list the bucket. */
export function readMessageOf(cause: unknown): string {
  if (statusOf(cause) !== 403) return messageOf(cause)
  return `${messageOf(cause)} (AWS answers 403 for a missing object if s3:ListBucket is not allowed)`
}

/** The content type of an object, by the suffix of its key. */
export function contentTypeOf(key: string): string {
  if (key.endsWith('.gz')) return 'application/gzip'
  if (key.endsWith('.zst')) return 'application/zstd'
  return key.endsWith('.json') ? 'application/json' : 'application/x-ndjson'
}
