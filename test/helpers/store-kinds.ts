/** The stores on which the tests of the contract run. */
import { randomUUID } from 'node:crypto'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import type { Test } from 'tap'
import { openStore } from '../../src/store/open-store.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { startS3Server } from '../services/s3-server.ts'
import { configOf, temporaryDirectory } from './helper.ts'
import { filesBelow, keysOf, openUploads, setEnvironment } from './store-helper.ts'

export interface OpenedStore {
  readonly store: ObjectStore
  /** Resolves to the number of things that are not objects: open uploads, temporary files. */
  leftovers(): Promise<number>
}

export interface Kind {
  readonly name: string
  readonly description: RegExp
  /** Whether its answers have the time of its own clock. */
  readonly hasClock: boolean
  /** Whether its objects are in the memory of this process. */
  readonly isHere?: boolean
  open(t: Test): Promise<OpenedStore>
}

export async function openDirectory(t: Test): Promise<OpenedStore> {
  const path = temporaryDirectory(t)
  const store = await openStore(configOf({ ARCHIVE_URL: path }))
  const leftovers = async () => filesBelow(path).length - (await keysOf(store)).length
  return { store, leftovers }
}

/** Makes a new bucket on the server in the environment. */
export async function openBucket(t: Test): Promise<OpenedStore> {
  const bucket = `test-${randomUUID()}`
  const client = new S3Client({ forcePathStyle: true })
  t.teardown(() => client.destroy())
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  const store = await openStore(configOf({ ARCHIVE_URL: `s3://${bucket}/p`, S3_FORCE_PATH_STYLE: 'true' }))
  t.teardown(() => store.close())
  return { store, leftovers: () => openUploads(t, bucket) }
}

const BUCKET_DESCRIPTION = /^S3, s3:\/\/test-.+\/p$/

export const KINDS: readonly Kind[] = [
  { name: 'a directory', description: /^directory \//, hasClock: false, open: openDirectory },
  {
    name: 'S3',
    description: BUCKET_DESCRIPTION,
    hasClock: true,
    open: async t => {
      if (process.env.TEST_S3_ENDPOINT === undefined) {
        throw new Error('TEST_S3_ENDPOINT is not set. Run `npm test -- FILE`.')
      }
      return openBucket(t)
    },
  },
  {
    name: 'a strict S3',
    description: BUCKET_DESCRIPTION,
    hasClock: true,
    isHere: true,
    open: async t => {
      const server = await startS3Server()
      t.teardown(() => server.close())
      setEnvironment(t, server.env())
      return openBucket(t)
    },
  },
]
