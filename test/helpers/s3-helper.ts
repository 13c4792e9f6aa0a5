/** What tests of the S3 store on the small server have in common. */
import { S3Client } from '@aws-sdk/client-s3'
import type { Test } from 'tap'
import { openStore } from '../../src/store/open-store.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { type S3Fault, type S3FaultFunction, type S3Server, startS3Server } from '../services/s3-server.ts'
import { configOf } from './helper.ts'
import { chunksOf, getBytes, setEnvironment } from './store-helper.ts'

export const MIB = 1024 * 1024
/** So long that a busy machine is not taken for silence. */
export const IDLE_MS = 2_500
export const UNAVAILABLE = { code: 'FRQ_STORE_UNAVAILABLE', statusCode: 503 }

const SETTINGS = {
  ARCHIVE_URL: 's3://bucket/p',
  S3_FORCE_PATH_STYLE: 'true',
  S3_IDLE_MS_MAX: String(IDLE_MS),
}

/** A server with one bucket, `bucket`, that the environment names. */
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

/** For what no store does: a client of the server that the environment names. */
export function createClient(t: Test): S3Client {
  const client = new S3Client({ forcePathStyle: true })
  t.teardown(() => client.destroy())
  return client
}

/** The fault for requests of these operations, and for the first `times` of them only. */
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

/** The operations that a server was asked for since the last call, in order. */
export function operationsOf(server: S3Server): string[] {
  return server.requests.splice(0).map(({ operation }) => operation)
}
