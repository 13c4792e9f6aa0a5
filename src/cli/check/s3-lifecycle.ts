/** Tests whether a bucket's lifecycle rules keep the archive's log, and abort unfinished uploads. */
import { GetBucketLifecycleConfigurationCommand, type LifecycleRule, type S3Client } from '@aws-sdk/client-s3'
import { type Finding, inTime, messageOf } from './finding.ts'

const NAME = 'lifecycle'
/** Storage classes whose objects cannot be read until they are restored, which takes hours. */
const ARCHIVE_CLASSES = ['GLACIER', 'DEEP_ARCHIVE']

/** @param prefix of the archive, without a slash at its end */
export async function checkLifecycle(client: S3Client, bucket: string, prefix: string): Promise<Finding> {
  const own = `${prefix}/_frequency/`
  let rules: readonly LifecycleRule[]
  try {
    rules = await inTime(readRules(client, bucket))
  } catch (error) {
    const detail = `the bucket's rules could not be read (${messageOf(error)}). No rule may expire objects below ${own}`
    return { name: NAME, result: 'skipped', detail }
  }
  const enabled = rules.filter(rule => rule.Status === 'Enabled' && !hasTags(rule))
  const harmful = enabled.find(rule => coversLog(rule, own) && removesObjects(rule))
  if (harmful !== undefined) {
    const rule = `the rule ${harmful.ID ?? 'without a name'} (prefix "${prefixOf(harmful)}")`
    const detail = `${rule} expires or archives objects below ${own}, where the log of the archive is: exclude this prefix`
    return { name: NAME, result: 'warning', detail }
  }
  const abortsUploads = enabled.some(
    rule => rule.AbortIncompleteMultipartUpload !== undefined && `${own}staged/`.startsWith(prefixOf(rule)),
  )
  const advice = abortsUploads
    ? ''
    : `. Advice: add a rule that aborts incomplete uploads below ${own}staged/ after two days`
  return { name: NAME, result: 'ok', detail: `no rule of the bucket expires objects below ${own}${advice}` }
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

/** A rule has its prefix in one of three places. A rule without a prefix covers the whole bucket. */
function prefixOf({ Filter, Prefix }: LifecycleRule): string {
  return Filter?.Prefix ?? Filter?.And?.Prefix ?? Prefix ?? ''
}

/** Whether the rule covers only objects with tags. The archive's objects have none. */
function hasTags({ Filter }: LifecycleRule): boolean {
  return Filter?.Tag !== undefined || (Filter?.And?.Tags ?? []).length > 0
}

/** Whether the rule covers any key below `own`. */
function coversLog(rule: LifecycleRule, own: string): boolean {
  const prefix = prefixOf(rule)
  return own.startsWith(prefix) || prefix.startsWith(own)
}

/** Whether the rule expires or archives current objects. Other rules are for old versions, delete markers or uploads. */
function removesObjects({ Expiration, Transitions = [] }: LifecycleRule): boolean {
  const expires = Expiration?.Days !== undefined || Expiration?.Date !== undefined
  return expires || Transitions.some(({ StorageClass = '' }) => ARCHIVE_CLASSES.includes(StorageClass))
}
