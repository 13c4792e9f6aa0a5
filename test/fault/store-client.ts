/** A client of the archive's bucket. It shares no code with the program. */
import { buffer } from 'node:stream/consumers'
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import type { Radosgw } from '../services/radosgw.ts'

export const BUCKET = 'archive'
export const PREFIX = 'events'
export const OBJECTS_PREFIX = `${PREFIX}/dt=`
export const LOG_PREFIX = `${PREFIX}/_frequency/log/`

export interface Listed {
  readonly key: string
  /** In milliseconds since 1970. */
  readonly modifiedAt: number
}

export class StoreClient {
  readonly #client: S3Client

  constructor({ endpoint, region, accessKeyId, secretAccessKey }: Radosgw) {
    this.#client = new S3Client({
      endpoint,
      region,
      credentials: { accessKeyId, secretAccessKey },
      forcePathStyle: true,
      maxAttempts: 5,
    })
  }

  async list(prefix: string): Promise<Listed[]> {
    const listed: Listed[] = []
    let ContinuationToken: string | undefined
    do {
      const page = await this.#client.send(
        new ListObjectsV2Command({ Bucket: BUCKET, Prefix: prefix, ContinuationToken }),
      )
      for (const { Key, LastModified } of page.Contents ?? [])
        if (Key !== undefined) listed.push({ key: Key, modifiedAt: LastModified?.getTime() ?? 0 })
      ContinuationToken = page.NextContinuationToken
    } while (ContinuationToken !== undefined)
    return listed
  }

  async read(key: string): Promise<Buffer> {
    const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }))
    return await buffer(Body as AsyncIterable<Buffer>)
  }

  async write(key: string, bytes: Buffer): Promise<void> {
    await this.#client.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: bytes }))
  }

  close(): void {
    this.#client.destroy()
  }
}
