/** The variables that the AWS SDK reads itself, and the checks of them that need no request to S3. */
import { ConfigInvalid } from '../errors.ts'

export interface AwsSetting {
  readonly variable: string
  readonly description: string
}

/** The variables that `.env.example` and `docs/settings.md` list. The SDK reads more. */
export const awsSettings: readonly AwsSetting[] = [
  { variable: 'AWS_ACCESS_KEY_ID', description: 'Access key id for S3.' },
  { variable: 'AWS_SECRET_ACCESS_KEY', description: 'Secret access key that belongs to AWS_ACCESS_KEY_ID.' },
  { variable: 'AWS_SESSION_TOKEN', description: 'Session token, if the credentials are temporary.' },
  {
    variable: 'AWS_PROFILE',
    description:
      'Profile in ~/.aws from which credentials and region are read, instead of from these variables.',
  },
  {
    variable: 'AWS_REGION',
    description: 'Region of the bucket. Optional if AWS_ENDPOINT_URL_S3 is set.',
  },
  {
    variable: 'AWS_ENDPOINT_URL_S3',
    description: 'URL of an S3 server other than AWS, as http://host:port.',
  },
]

/** In the order in which the SDK looks for them. */
const ENDPOINT_VARIABLES = ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL']
/** If one of these variables has another value, the SDK fails at the first request. */
const ALLOWED_VALUES: Record<string, readonly string[]> = {
  AWS_USE_FIPS_ENDPOINT: ['true', 'false'],
  AWS_USE_DUALSTACK_ENDPOINT: ['true', 'false'],
  AWS_S3_USE_ARN_REGION: ['true', 'false'],
  AWS_REQUEST_CHECKSUM_CALCULATION: ['WHEN_SUPPORTED', 'WHEN_REQUIRED'],
  AWS_RESPONSE_CHECKSUM_VALIDATION: ['WHEN_SUPPORTED', 'WHEN_REQUIRED'],
}

export interface AwsEndpoint {
  /** The variable that names the endpoint. */
  readonly variable: string
  readonly url: URL
}

/**
 * @returns the S3 endpoint, or undefined if no variable is set
 * @throws ConfigInvalid if the value is not an http or https URL, or has a user name, query or fragment
 */
export function awsEndpoint(env: NodeJS.ProcessEnv): AwsEndpoint | undefined {
  const variable = ENDPOINT_VARIABLES.find(name => (env[name] ?? '') !== '')
  if (variable === undefined) return undefined
  const text = env[variable] ?? ''
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url !== undefined && /^https?:$/.test(url.protocol) && `${url.username}${url.search}${url.hash}` === '')
    return { variable, url }
  throw new ConfigInvalid(
    `${variable} must be a URL like http://127.0.0.1:9000 or https://s3.example.com${got(text)}.`,
  )
}

/**
 * Checks the variables at the start. Otherwise the SDK would fail at each request.
 *
 * @throws ConfigInvalid with the variable and the form of a valid value
 */
export function checkAwsSettings(env: NodeJS.ProcessEnv): void {
  awsEndpoint(env)
  const region = env.AWS_REGION ?? ''
  if (region !== '' && !/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(region))
    throw new ConfigInvalid(`AWS_REGION must be the name of a region, like eu-central-1${got(region)}.`)
  for (const [name, allowed] of Object.entries(ALLOWED_VALUES)) {
    const value = env[name] ?? ''
    if (value !== '' && !allowed.includes(value) && !allowed.includes(value.toUpperCase()))
      throw new ConfigInvalid(`${name} must be one of ${allowed.join(', ')}${got(value)}.`)
  }
  const [id, secret] = [env.AWS_ACCESS_KEY_ID ?? '', env.AWS_SECRET_ACCESS_KEY ?? '']
  if ((id === '') === (secret === '') || (env.AWS_PROFILE ?? '') !== '') return
  const [set, missing] =
    secret === ''
      ? ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']
      : ['AWS_SECRET_ACCESS_KEY', 'AWS_ACCESS_KEY_ID']
  throw new ConfigInvalid(`${missing} is not set, but ${set} is. Set both, or neither.`)
}

/** @returns the value for an error message, or nothing if the value may have a password in it. */
function got(text: string): string {
  return text.includes('@') ? '' : `, not ${JSON.stringify(text.slice(0, 100))}`
}
