import type { Event } from '../event.ts'

/**
 * How an event lies in the embedded queue:
 *
 *     flags: 1 byte · length of the id: 1 byte · the id, UTF-8 · the body
 *
 * An id is at most 255 bytes long, so its length fits. The one flag says that the event may repeat.
 */

const MAY_REPEAT = 1
const HEADER_BYTES = 2

export function encodeRecord({ messageId, body, mayRepeat }: Event): Buffer {
  const idLength = Buffer.byteLength(messageId)
  const record = Buffer.allocUnsafe(HEADER_BYTES + idLength + body.length)
  record[0] = mayRepeat ? MAY_REPEAT : 0
  record[1] = idLength
  record.write(messageId, HEADER_BYTES)
  body.copy(record, HEADER_BYTES + idLength)
  return record
}

export function decodeRecord(record: Buffer): Event {
  const bodyStart = HEADER_BYTES + (record[1] as number)
  return {
    messageId: record.toString('utf8', HEADER_BYTES, bodyStart),
    body: record.subarray(bodyStart),
    mayRepeat: record[0] === MAY_REPEAT,
  }
}
