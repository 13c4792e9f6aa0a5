/** Tests whether a bucket's lifecycle rules keep the archive's log, table and objects, and abort unfinished uploads. */
import {
  GetBucketLifecycleConfigurationCommand,
  type LifecycleRule,
  type S3Client,
  type Transition,
} from '@aws-sdk/client-s3'
import { type Finding, inTime, messageOf } from './finding.ts'

const NAME = 'lifecycle'
const DAY_MS = 24 * 60 * 60 * 1000
/** Storage classes whose objects cannot be read until they are restored, which takes hours. */
const ARCHIVE_CLASSES = ['GLACIER', 'DEEP_ARCHIVE']

/** S3 removes an object up to a day after its time, and `frequency expire` runs once a day. */
const LATER_DAYS = 2

/**
 * @param prefix of the archive, without a slash at its end
 * @param retentionMs after which the log says that objects have expired
 */
export async function checkLifecycle(
  client: S3Client,
  bucket: string,
  prefix: string,
  retentionMs: number | undefined,
): Promise<Finding> {
  const own = `${prefix}/_frequency/`
  let rules: readonly LifecycleRule[]
  try {
    rules = await inTime(readRules(client, bucket))
  } catch (error) {
    const detail = `the bucket's rules could not be read (${messageOf(error)}). No rule may expire objects below ${own}`
    return { name: NAME, result: 'skipped', detail }
  }
  const enabled = rules.filter(rule => rule.Status === 'Enabled' && !hasTags(rule))
  const harm = harmOf(enabled.filter(removesObjects), prefix, retentionMs)
  if (harm !== undefined) return { name: NAME, result: 'warning', detail: harm }
  const abortsUploads = enabled.some(
    rule => rule.AbortIncompleteMultipartUpload !== undefined && `${own}staged/`.startsWith(prefixOf(rule)),
  )
  const advice = abortsUploads
    ? ''
    : `. Advice: add a rule that aborts incomplete uploads below ${own}staged/ after two days`
  return { name: NAME, result: 'ok', detail: `no rule of the bucket expires objects below ${own}${advice}` }
}

/** What the first harmful rule does, in words. */
function harmOf(
  rules: readonly LifecycleRule[],
  prefix: string,
  retentionMs: number | undefined,
): string | undefined {
  for (const [below, what] of [
    [`${prefix}/_frequency/`, 'where the log of the archive is'],
    [`${prefix}/table/`, 'where the table is'],
  ] as const) {
    const rule = rules.find(each => covers(each, below))
    if (rule !== undefined)
      return `${nameOf(rule)} expires or archives objects below ${below}, ${what}: exclude this prefix`
  }
  const objects = `${prefix}/dt=`
  const rule = rules.find(each => covers(each, objects) && !isAfter(each, retentionMs))
  if (rule === undefined) return undefined
  const advice =
    retentionMs === undefined
      ? 'Set RETENTION, or RAW_RETENTION, and let "frequency expire" remove them'
      : `Let it wait for ${Math.ceil(retentionMs / DAY_MS) + LATER_DAYS} days, which is RETENTION and ${LATER_DAYS} days`
  return `${nameOf(rule)} expires or archives objects below ${objects} that the log still names: queries fail then. ${advice} (docs/retention.md)`
}

/** Whether the rule only expires objects of which the log says by then that they have expired. */
function isAfter({ Expiration, Transitions = [] }: LifecycleRule, retentionMs: number | undefined): boolean {
  if (retentionMs === undefined || Expiration?.Date !== undefined) return false
  const days = [Expiration?.Days, ...Transitions.filter(isArchiving).map(({ Days }) => Days ?? 0)]
  return days.every(each => each === undefined || each * DAY_MS >= retentionMs + LATER_DAYS * DAY_MS)
}

function nameOf(rule: LifecycleRule): string {
  return `the rule ${rule.ID ?? 'without a name'} (prefix "${prefixOf(rule)}")`
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

/** Whether the rule covers any key that begins with `below`. */
function covers(rule: LifecycleRule, below: string): boolean {
  const prefix = prefixOf(rule)
  return below.startsWith(prefix) || prefix.startsWith(below)
}

/** Whether the rule expires or archives current objects. Other rules are for old versions, delete markers or uploads. */
function removesObjects({ Expiration, Transitions = [] }: LifecycleRule): boolean {
  const expires = Expiration?.Days !== undefined || Expiration?.Date !== undefined
  return expires || Transitions.some(isArchiving)
}

function isArchiving({ StorageClass }: Transition): boolean {
  return StorageClass !== undefined && ARCHIVE_CLASSES.includes(StorageClass)
}
