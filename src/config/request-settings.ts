import { Type } from '@sinclair/typebox'
import { bytes, KIB, MIB, milliseconds } from './setting-types.ts'

/** The settings that limit the size and duration of requests. */
export const requestSettings = {
  bodyBytesMax: bytes({ default: MIB, minimum: 64, maximum: 64 * MIB, description: 'Largest request body.' }),
  batchBodyBytesMax: bytes({
    default: 16 * MIB,
    minimum: 64,
    maximum: 64 * MIB,
    description: 'Largest request body with a batch of events.',
  }),
  requestEventsMax: Type.Integer({
    minimum: 1,
    maximum: 1_000_000,
    default: 100_000,
    description: 'Maximum events in one request with a batch.',
  }),
  bodiesBytesMax: bytes({
    default: 256 * MIB,
    minimum: MIB,
    description:
      'Maximum bytes of request bodies in memory at once. If they are reached, clients get 503. Bodies of up to 8 KiB are not counted.',
  }),
  connectionsMax: Type.Integer({
    minimum: 1,
    maximum: 1_000_000,
    default: 10_000,
    description: 'Maximum open connections. Further ones are closed at once.',
  }),
  headerBytesMax: bytes({
    default: 32 * KIB,
    minimum: KIB,
    maximum: MIB,
    description: 'Largest request head, with its cookies.',
  }),
  segmentEventBytesMax: bytes({
    default: 32 * KIB,
    minimum: 64,
    maximum: 64 * MIB,
    description: 'Largest call of the Segment API, alone or in a batch.',
  }),
  segmentBatchBytesMax: bytes({
    default: 500 * KIB,
    minimum: 64,
    maximum: 64 * MIB,
    description: 'Largest request body with a batch of the Segment API.',
  }),
  requestMsMax: milliseconds({
    default: 15_000,
    minimum: 1000,
    description: 'How long a client may take to send a request.',
  }),
}
