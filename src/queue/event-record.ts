import type { Event } from '../event.ts'

/**
 * How an event lies in the embedded queue:
 *
 *     length of the id: 1 byte · the id, UTF-8 · the body
 *
 * An id is at most 255 bytes long, so its length fits.
 */

const HEADER_BYTES = 1

export function encodeRecord({ messageId, body }: Event): Buffer {
  const idLength = Buffer.byteLength(messageId)
  const record = Buffer.allocUnsafe(HEADER_BYTES + idLength + body.length)
  record[0] = idLength
  record.write(messageId, HEADER_BYTES)
  body.copy(record, HEADER_BYTES + idLength)
  return record
}

export function decodeRecord(record: Buffer): Event {
  const bodyStart = HEADER_BYTES + (record[0] as number)
  return { messageId: record.toString('utf8', HEADER_BYTES, bodyStart), body: record.subarray(bodyStart) }
}
