/** Whether a bucket's lifecycle rules remove what an archive needs, or what it has left behind. */
import { GetBucketLifecycleConfigurationCommand, type LifecycleRule, type S3Client } from '@aws-sdk/client-s3'
import { type Finding, inTime, messageOf } from './finding.ts'

const NAME = 'lifecycle'
/** What lies there has to be asked for, and comes hours later. */
const ARCHIVE_CLASSES = ['GLACIER', 'DEEP_ARCHIVE']

/** @param prefix of the archive, without a slash at its end */
export async function checkLifecycle(client: S3Client, bucket: string, prefix: string): Promise<Finding> {
  const own = `${prefix}/_frequency/`
  let rules: readonly LifecycleRule[]
  try {
    rules = await inTime(readRules(client, bucket))
  } catch (error) {
    const detail = `the bucket's rules could not be read (${messageOf(error)}): none may expire what is below ${own}`
    return { name: NAME, result: 'skipped', detail }
  }
  const enabled = rules.filter(rule => rule.Status === 'Enabled' && !hasTags(rule))
  const harmful = enabled.find(rule => isAbout(rule, own) && takesAway(rule))
  if (harmful !== undefined) {
    const rule = `the rule ${harmful.ID ?? 'without a name'} (prefix "${prefixOf(harmful)}")`
    const detail = `${rule} removes or archives what is below ${own}, which is the log of what is archived: exclude it`
    return { name: NAME, result: 'warning', detail }
  }
  const clears = enabled.some(
    rule => rule.AbortIncompleteMultipartUpload !== undefined && `${own}staged/`.startsWith(prefixOf(rule)),
  )
  const advice = clears
    ? ''
    : `; one that aborts incomplete uploads below ${own}staged/ after two days would help`
  return { name: NAME, result: 'ok', detail: `no rule of the bucket expires what is below ${own}${advice}` }
}

async function readRules(client: S3Client, bucket: string): Promise<readonly LifecycleRule[]> {
  try {
    const { Rules = [] } = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }))
    return Rules
  } catch (error) {
    if ((error as Error).name === 'NoSuchLifecycleConfiguration') return []
    throw error
  }
}

/** Rules may have their prefix in any of three places; without one they are about the whole bucket. */
function prefixOf({ Filter, Prefix }: LifecycleRule): string {
  return Filter?.Prefix ?? Filter?.And?.Prefix ?? Prefix ?? ''
}

/** The archive's objects have no tags, so that such a rule is not about them. */
function hasTags({ Filter }: LifecycleRule): boolean {
  return Filter?.Tag !== undefined || (Filter?.And?.Tags ?? []).length > 0
}

function isAbout(rule: LifecycleRule, own: string): boolean {
  const prefix = prefixOf(rule)
  return own.startsWith(prefix) || prefix.startsWith(own)
}

/** A rule may also be about old versions, delete markers or uploads alone. */
function takesAway({ Expiration, Transitions = [] }: LifecycleRule): boolean {
  const expires = Expiration?.Days !== undefined || Expiration?.Date !== undefined
  return expires || Transitions.some(({ StorageClass = '' }) => ARCHIVE_CLASSES.includes(StorageClass))
}
