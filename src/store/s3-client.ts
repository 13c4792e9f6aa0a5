/** The S3 client, the time in its answers, and what its failures mean. */
import { S3Client, S3ServiceException } from '@aws-sdk/client-s3'
import type { Config } from '../config/config.ts'
import { ConfigInvalid, StoreUnavailable } from '../errors.ts'
import type { StoreDate } from './store.ts'

const CONNECT_MS_MAX = 5_000
const ATTEMPTS_MAX = 4

/** Answers to HeadBucket that a person has to mend, by status. */
const REFUSALS: Record<number, string> = {
  301: 'the bucket is in another region: set AWS_REGION',
  400: 'the request was refused: check AWS_REGION and the credentials',
  401: 'the credentials were refused',
  403: 'access was refused: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do',
  404: 'the bucket does not exist',
}

/**
 * A client with the AWS SDK's own settings (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL_S3`, profiles, roles …).
 *
 * @throws ConfigInvalid where the endpoint is no URL.
 */
export function createS3Client({
  s3ForcePathStyle,
  s3IdleMsMax,
}: Pick<Config, 's3ForcePathStyle' | 's3IdleMsMax'>): S3Client {
  const hasEndpoint = requireEndpoint()
  const hasRegion = (process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION) !== undefined
  // Which Node the SDK will want next year is for those who choose its version, not for those who run this.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
  const client = new S3Client({
    forcePathStyle: s3ForcePathStyle,
    maxAttempts: ATTEMPTS_MAX,
    // Servers other than AWS have no regions, but requests are signed for one.
    ...(hasEndpoint && !hasRegion && { region: 'us-east-1' }),
    requestHandler: {
      connectionTimeout: CONNECT_MS_MAX,
      // Not `requestTimeout`: that is for the whole request, and a slow line takes long for a part.
      socketTimeout: s3IdleMsMax,
    },
  })
  acceptAnswersAcrossClocks(client)
  return client
}

type Middleware = Parameters<S3Client['middlewareStack']['addRelativeTo']>[0]
type Handler = (args: object) => Promise<object>

/** What is no error to us: not there, there already, behind the end. */
const ANSWERS = new Set([404, 412, 416])

/**
 * Where the clock here is some minutes off the server's, the SDK takes every answer with an error status for one of a
 * wrong signature, and asks four times. These are answers, and are not asked for again.
 */
function acceptAnswersAcrossClocks(client: S3Client): void {
  const accept = (next: Handler) => async (args: object) => {
    try {
      return await next(args)
    } catch (error) {
      if (error instanceof S3ServiceException && ANSWERS.has(error.$metadata.httpStatusCode ?? 0))
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

/** Whether the environment names an endpoint. The SDK reads these variables in this order, and skips empty ones. */
function requireEndpoint(): boolean {
  const name = ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL'].find(each => (process.env[each] ?? '') !== '')
  if (name === undefined) return false
  const url = process.env[name] ?? ''
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new ConfigInvalid(`${name} must be a URL that begins with http:// or https://.`)
  return true
}

/** Watches what `Date` the last answer to one command has, also one that is an error. To be called before it is sent. */
export function watchDate(command: { readonly middlewareStack: object }): () => StoreDate {
  let date: StoreDate
  // The stack of a command differs from that of a client by the types of inputs alone.
  const stack = command.middlewareStack as S3Client['middlewareStack']
  stack.add(
    next => async args => {
      // Of several attempts, the last one's answer is the one that counts.
      date = undefined
      const result = await next(args)
      date = dateOf(result.response)
      return result
    },
    // What is low here sees the answer before it is read, also one that is a refusal.
    { step: 'deserialize', priority: 'low', name: 'watchDate' },
  )
  return () => date
}

/** The `Date` of an answer in milliseconds since 1970, in whole seconds; undefined where it has none. */
export function dateOf(response: unknown): StoreDate {
  const date = Date.parse((response as { headers?: Record<string, string> }).headers?.date ?? '')
  return Number.isNaN(date) ? undefined : date
}

/** The HTTP status of an error that the server answered. */
export function statusOf(error: unknown): number | undefined {
  return error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined
}

/** There is no object of that key; there is a bucket. */
export function isNoSuchKey(error: unknown): boolean {
  return error instanceof S3ServiceException && error.name === 'NoSuchKey'
}

/** What S3 answered or did not, as what has to be mended, or as what may pass. */
export function asStoreError(cause: unknown, bucket: string): Error {
  if (cause instanceof ConfigInvalid) return cause
  const status = statusOf(cause)
  const refusal = status === undefined ? refusalWithoutAnswer(cause) : REFUSALS[status]
  if (refusal !== undefined) return new ConfigInvalid(`ARCHIVE_URL: s3://${bucket}: ${refusal}.`, { cause })
  return new StoreUnavailable(`S3 cannot be used now: ${messageOf(cause)}`, { cause })
}

/** What the SDK itself lacks, before it asks the server anything. */
function refusalWithoutAnswer(cause: unknown): string | undefined {
  const { name, message } = cause as Error
  if (name === 'CredentialsProviderError')
    return 'there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY'
  if (message === 'Region is missing') return 'no region is set: set AWS_REGION'
  return undefined
}

/** PutObject on condition was answered with 501. */
export function conditionUnknown(cause: unknown): Error {
  return new ConfigInvalid(
    'ARCHIVE_URL: this S3 server does not know conditional writes (If-None-Match on PutObject), so two writers could overwrite each other. Use another server, or a newer version of it.',
    { cause },
  )
}

/** A second PutObject on condition was not refused. */
export function conditionIgnored(): Error {
  return new ConfigInvalid(
    'ARCHIVE_URL: this S3 server ignores If-None-Match on PutObject, so two writers could overwrite each other.',
  )
}

export function messageOf(cause: unknown): string {
  const { name, message, code } = cause as NodeJS.ErrnoException
  return [code ?? name, message].filter(part => part !== undefined && part !== '').join(': ')
}

/** Of a failed read: AWS does not say 404 to those who may not list. */
export function readMessageOf(cause: unknown): string {
  if (statusOf(cause) !== 403) return messageOf(cause)
  return `${messageOf(cause)} (AWS answers 403 for an object that is missing where s3:ListBucket is not allowed)`
}

/** The type of a stored object, by its key. */
export function contentTypeOf(key: string): string {
  if (key.endsWith('.gz')) return 'application/gzip'
  if (key.endsWith('.zst')) return 'application/zstd'
  return key.endsWith('.json') ? 'application/json' : 'application/x-ndjson'
}
