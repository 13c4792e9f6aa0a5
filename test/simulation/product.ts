/** Runs the code under test in a simulated process. */

import './virtual-time.ts'
import { Upload } from '@aws-sdk/lib-storage'
import { Archiver } from '../../src/archive/archiver.ts'
import { GroupBuilder } from '../../src/event/event-group.ts'
import { Folder } from '../../src/log/folder.ts'
import type { Logger } from '../../src/process/logger.ts'
import type { Queue } from '../../src/queue/queue.ts'
import { openS3Store } from '../../src/store/s3.ts'
import { createS3Client } from '../../src/store/s3-client.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import type { HandlerResponse } from './exchange.ts'
import type { MemoryIndex } from './memory-index.ts'
import type { EventPlan, MessagePlan, WriterPlan } from './plan.ts'
import type { QueueMessage } from './simulated-queue.ts'
import type { HandlerRequest, SimulatedS3 } from './simulated-s3.ts'

export const BUCKET = 'bucket'
const BATCH_BYTES_MAX = 1_048_576

let s3: SimulatedS3 | undefined
let partBytes: () => number = () => 5 * 1024 * 1024
let takesFold: () => boolean = () => false

const SETTINGS = { s3ForcePathStyle: true, s3IdleMsMax: 1_000 }

/** Replaces the HTTP handler of all S3 clients by the simulated store, and makes the parts of lib-storage smaller. */
export async function patchClients(): Promise<void> {
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: 'simulated',
    AWS_SECRET_ACCESS_KEY: 'simulated',
    AWS_REGION: 'us-east-1',
    AWS_ENDPOINT_URL_S3: 'http://store.invalid',
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_EC2_METADATA_DISABLED: 'true',
  })
  const client = createS3Client(SETTINGS)
  const handler = Object.getPrototypeOf(client.config.requestHandler)
  handler.handle = (request: HandlerRequest, options: { abortSignal?: AbortSignal } = {}) => {
    if (s3 === undefined) return Promise.reject(new Error('No store is simulated.'))
    return s3.handle(request, options.abortSignal) satisfies Promise<HandlerResponse>
  }
  client.destroy()
  const { done } = Upload.prototype
  Upload.prototype.done = function () {
    if (!('partSize' in this)) throw new Error('lib-storage has no partSize any more.')
    Object.assign(this, { partSize: partBytes() })
    return done.call(this)
  }
  const { foldIfDue } = Folder.prototype
  Folder.prototype.foldIfDue = async function () {
    if (takesFold()) await this.fold()
    await foldIfDue.call(this)
  }
  // The SDK reads files and imports modules on first use. That has to happen before a simulation.
  await openS3Store({ bucket: BUCKET, prefix: 'warm-up' }, SETTINGS).catch(() => {})
}

export interface Wishes {
  /** Bytes of each part of a multipart upload that begins now. */
  partBytes(): number
  /** Whether the process folds now, even if no fold is due. Called each time that it checks whether one is due. */
  takesFold(): boolean
}

/** Makes this store answer all requests, until the next call. */
export function serveStore(simulated: SimulatedS3, wishes: Wishes): void {
  s3 = simulated
  partBytes = wishes.partBytes
  takesFold = wishes.takesFold
}

/** The settings and dependencies of one process. */
export interface Surroundings {
  readonly plan: WriterPlan
  readonly dedupeWindowMs: number
  readonly prefix: string
  readonly queue: Pick<Queue, 'consume'>
  readonly index: MemoryIndex
  readonly log: Logger
}

/** Opens the store of a process. It is used again after restarts. */
export async function openStoreOf({ inlineBytesMax }: WriterPlan, prefix: string): Promise<ObjectStore> {
  const store = await openS3Store({ bucket: BUCKET, prefix }, SETTINGS)
  Object.defineProperty(store, 'inlineBytesMax', { value: inlineBytesMax })
  return store
}

/** Starts an archiver. To be called in an event of its process. */
export async function startArchiver(
  { plan, dedupeWindowMs, prefix, queue, index, log }: Surroundings,
  store: ObjectStore,
): Promise<Archiver> {
  const config = {
    archive: { kind: 's3' as const, bucket: BUCKET, prefix },
    archiveFormat: plan.format,
    archiveCompression: 'none' as const,
    batchEventsMax: plan.batchEventsMax,
    batchBytesMax: BATCH_BYTES_MAX,
    batchAgeMsMax: plan.batchAgeMsMax,
    dedupeWindowMs,
  }
  const archiver = new Archiver({ queue, store, index, config, log })
  await archiver.start()
  return archiver
}

/** @param beganAt when the simulation began, in milliseconds since 1970 */
export function messageOf({ name, kind, events }: MessagePlan, beganAt: number): QueueMessage {
  if (kind === 'garbage') return { name, body: Buffer.from('{"event":'), group: undefined }
  const stamped = events.map(event => stampedEvent(event, beganAt))
  if (kind === 'foreign')
    return { name, body: Buffer.from(stamped.map(({ body }) => body).join('\n')), group: undefined }
  const builder = new GroupBuilder()
  for (const event of stamped) builder.add(event)
  const group = builder.build()
  return { name, body: group.lines, group }
}

function stampedEvent({ id, source, receivedMs, filler }: EventPlan, beganAt: number) {
  const receivedAt = new Date(beganAt + receivedMs).toISOString()
  const body = JSON.stringify({
    event: 'e',
    messageId: id,
    ...(source !== undefined && { source }),
    filler: 'x'.repeat(filler),
    receivedAt,
  })
  return { messageId: id, ...(source !== undefined && { source }), body: Buffer.from(body) }
}
