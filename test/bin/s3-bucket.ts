import { randomUUID } from 'node:crypto'
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3'
import type { Test } from 'tap'
import { silenceNodeAdvice } from '../services/s3-environment.ts'

silenceNodeAdvice()

export interface TestBucket {
  readonly name: string
  readonly endpoint: string
  /** The secret access key. */
  readonly secret: string
  /** The environment of a process that uses the bucket. */
  readonly env: Record<string, string>
}

/** Makes a bucket on the S3 server of test/services/run.ts, and removes it at the end of the test. */
export async function testBucket(t: Test): Promise<TestBucket> {
  const { TEST_S3_ENDPOINT: endpoint, AWS_SECRET_ACCESS_KEY: secret } = process.env
  if (endpoint === undefined || secret === undefined)
    throw new Error('TEST_S3_ENDPOINT is not set. Run `npm test -- FILE`.')
  const client = new S3Client({ forcePathStyle: true })
  const name = `test-${randomUUID()}`
  await client.send(new CreateBucketCommand({ Bucket: name }))
  t.teardown(async () => {
    await removeBucket(client, name)
    client.destroy()
  })
  return { name, endpoint, secret, env: s3Variables() }
}

async function removeBucket(client: S3Client, name: string): Promise<void> {
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: name }))
  for (const { Key } of Contents) await client.send(new DeleteObjectCommand({ Bucket: name, Key }))
  await client.send(new DeleteBucketCommand({ Bucket: name }))
}

function s3Variables(): Record<string, string> {
  const entries = Object.entries(process.env).filter(([variable]) => /^(AWS|S3)_/.test(variable))
  return Object.fromEntries(entries) as Record<string, string>
}
