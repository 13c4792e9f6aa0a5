/** Variables that the AWS SDK reads by itself, and what can be seen to be wrong with them before S3 is asked. */
import { ConfigInvalid } from '../errors.ts'

export interface AwsSetting {
  readonly variable: string
  readonly description: string
}

/** As `.env.example` and the README list them. The SDK knows more. */
export const awsSettings: readonly AwsSetting[] = [
  { variable: 'AWS_ACCESS_KEY_ID', description: 'Who asks S3.' },
  { variable: 'AWS_SECRET_ACCESS_KEY', description: 'The secret of AWS_ACCESS_KEY_ID.' },
  { variable: 'AWS_SESSION_TOKEN', description: 'Goes with credentials that are temporary.' },
  {
    variable: 'AWS_PROFILE',
    description: 'Credentials and region from ~/.aws, in place of the variables here.',
  },
  {
    variable: 'AWS_REGION',
    description: 'Region of the bucket. Where AWS_ENDPOINT_URL_S3 is set it may be left out.',
  },
  {
    variable: 'AWS_ENDPOINT_URL_S3',
    description: 'Address of an S3 server other than AWS, as http://host:port.',
  },
]

/** In the order in which the SDK looks for them. */
const ENDPOINT_VARIABLES = ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL']
/** The SDK fails at the first request where one of these has another word. */
const CHOICES: Record<string, readonly string[]> = {
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

/** @returns undefined where no variable names an endpoint. @throws ConfigInvalid for one that is no http(s) URL. */
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
 * Refuses what the SDK would only say with the first request, and then again and again.
 *
 * @throws ConfigInvalid naming the variable and what a right value looks like.
 */
export function checkAwsSettings(env: NodeJS.ProcessEnv): void {
  awsEndpoint(env)
  const region = env.AWS_REGION ?? ''
  if (region !== '' && !/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(region))
    throw new ConfigInvalid(`AWS_REGION must be the name of a region, like eu-central-1${got(region)}.`)
  for (const [name, words] of Object.entries(CHOICES)) {
    const word = env[name] ?? ''
    if (word !== '' && !words.includes(word) && !words.includes(word.toUpperCase()))
      throw new ConfigInvalid(`${name} must be one of ${words.join(', ')}${got(word)}.`)
  }
  const [id, secret] = [env.AWS_ACCESS_KEY_ID ?? '', env.AWS_SECRET_ACCESS_KEY ?? '']
  if ((id === '') === (secret === '') || (env.AWS_PROFILE ?? '') !== '') return
  const [has, lacks] =
    secret === ''
      ? ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']
      : ['AWS_SECRET_ACCESS_KEY', 'AWS_ACCESS_KEY_ID']
  throw new ConfigInvalid(`${lacks} is not set, and ${has} is: set both, or neither.`)
}

/** Nothing of a URL that may hold a password. */
function got(text: string): string {
  return text.includes('@') ? '' : `, not ${JSON.stringify(text.slice(0, 100))}`
}
