/** Helpers for tests of the S3 store on the S3 server in memory. */
import { S3Client } from '@aws-sdk/client-s3'
import type { Test } from 'tap'
import { openStore } from '../../src/store/open-store.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { type S3Fault, type S3FaultFunction, type S3Server, startS3Server } from '../services/s3-server.ts'
import { configOf } from './helper.ts'
import { chunksOf, getBytes, setEnvironment } from './store-helper.ts'

export const MIB = 1024 * 1024
/** Longer than the pauses of a busy machine, which must not be taken for an idle connection. */
export const IDLE_MS = 2_500
export const UNAVAILABLE = { code: 'FRQ_STORE_UNAVAILABLE', statusCode: 503 }

const SETTINGS = {
  ARCHIVE_URL: 's3://bucket/p',
  S3_FORCE_PATH_STYLE: 'true',
  S3_IDLE_MS_MAX: String(IDLE_MS),
}

/** Starts a server with the bucket `bucket`, and sets the environment for it. Both end with the test. */
export async function startServer(t: Test): Promise<S3Server> {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket('bucket')
  setEnvironment(t, server.env())
  return server
}

export async function open(t: Test, settings: Record<string, string> = {}): Promise<ObjectStore> {
  const store = await openStore(configOf({ ...SETTINGS, ...settings }))
  t.teardown(() => store.close())
  return store
}

export async function openWithServer(
  t: Test,
  settings: Record<string, string> = {},
): Promise<{ store: ObjectStore; server: S3Server }> {
  const server = await startServer(t)
  return { server, store: await open(t, settings) }
}

/** Returns a client of the server in the environment, for requests that a store cannot make. */
export function createClient(t: Test): S3Client {
  const client = new S3Client({ forcePathStyle: true })
  t.teardown(() => client.destroy())
  return client
}

/** Returns a function that gives `fault` to the first `times` requests of these operations. */
export function faultOf(
  operations: string[],
  fault: S3Fault,
  times = Number.POSITIVE_INFINITY,
): S3FaultFunction {
  let count = 0
  return request => (operations.includes(request.operation) && count++ < times ? fault : undefined)
}

export async function isWhole(store: ObjectStore, key: string, bytes: number): Promise<boolean> {
  return (await getBytes(store, key)).equals(Buffer.concat([...chunksOf(bytes)]))
}

/** Returns the operations of the requests since the last call, in order. */
export function operationsOf(server: S3Server): string[] {
  return server.requests.splice(0).map(({ operation }) => operation)
}
