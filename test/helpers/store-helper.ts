/** Helpers for tests of stores. */
import { readdirSync } from 'node:fs'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3'
import type { Test } from 'tap'
import type { ObjectStore } from '../../src/store/store.ts'
import { silenceNodeAdvice } from '../services/s3-environment.ts'

silenceNodeAdvice()

const CHUNK_BYTES = 61_003

/** Yields `bytes` bytes in chunks. No size of a part is a multiple of the size of a chunk. Each call yields the same bytes. */
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

/** Resolves to the keys of archived objects, without the log and other files below `_frequency`. */
export async function objectKeysOf(store: Pick<ObjectStore, 'list'>): Promise<string[]> {
  const keys: string[] = []
  for await (const key of store.list('')) if (!key.includes('/_frequency/')) keys.push(key)
  return keys
}

/** Sets environment variables, which the AWS SDK reads, until the end of the test. */
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

/** Resolves to the number of open multipart uploads of a bucket. */
export async function openUploads(t: Test, bucket: string): Promise<number> {
  const client = new S3Client({ forcePathStyle: true })
  t.teardown(() => client.destroy())
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
  return Uploads.length
}

/** Returns the names, without directories, of all files below a directory. */
export function filesBelow(path: string): string[] {
  const entries = readdirSync(path, { withFileTypes: true, recursive: true })
  return entries.filter(entry => !entry.isDirectory()).map(({ name }) => name)
}
