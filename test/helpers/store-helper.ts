/** What tests of stores have in common. */
import { readdirSync } from 'node:fs'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3'
import type { Test } from 'tap'
import type { ObjectStore } from '../../src/store/store.ts'

// The SDK's advice on versions of Node is not for the reader of a test's output.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'

const CHUNK_BYTES = 61_003

/** Chunks of a size that no part is a multiple of, with `bytes` in all. Each call gives the same ones. */
export function* chunksOf(bytes: number): Generator<Buffer> {
  for (let at = 0; at < bytes; at += CHUNK_BYTES) {
    const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, bytes - at))
    for (let i = 0; i < chunk.length; i += 97) chunk[i] = (at + i) % 251
    yield chunk
  }
}

export function bodyOf(bytes: number): Readable {
  return Readable.from(chunksOf(bytes), { objectMode: false })
}

export async function putText(store: ObjectStore, key: string, text: string): Promise<void> {
  await store.put(key, Readable.from([Buffer.from(text)], { objectMode: false }))
}

export async function getBytes(store: ObjectStore, key: string): Promise<Buffer> {
  return buffer(await store.get(key))
}

export async function keysOf(store: ObjectStore, prefix = ''): Promise<string[]> {
  const keys: string[] = []
  for await (const key of store.list(prefix)) keys.push(key)
  return keys
}

/** The keys of what is archived: without frequency's own things. */
export async function objectKeysOf(store: Pick<ObjectStore, 'list'>): Promise<string[]> {
  const keys: string[] = []
  for await (const key of store.list('')) if (!key.includes('/_frequency/')) keys.push(key)
  return keys
}

/** Sets environment variables for the time of a test; the AWS SDK reads them. */
export function setEnvironment(t: Test, variables: Record<string, string>): void {
  for (const [name, value] of Object.entries(variables)) {
    const before = process.env[name]
    process.env[name] = value
    t.teardown(() => {
      if (before === undefined) delete process.env[name]
      else process.env[name] = before
    })
  }
}

/** How many multipart uploads a bucket has that are neither completed nor aborted. */
export async function openUploads(t: Test, bucket: string): Promise<number> {
  const client = new S3Client({ forcePathStyle: true })
  t.teardown(() => client.destroy())
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
  return Uploads.length
}

/** All files below a directory. */
export function filesBelow(path: string): string[] {
  const entries = readdirSync(path, { withFileTypes: true, recursive: true })
  return entries.filter(entry => !entry.isDirectory()).map(({ name }) => name)
}
