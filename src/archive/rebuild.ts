import { Readable } from 'node:stream'
import { COMMA, LINE_FEED } from '../event/json-bytes.ts'
import { extensionOf, framingOf } from '../object/format.ts'
import { readPieces } from '../object/object-reader.ts'
import { type ObjectContent, type ObjectParts, ObjectWriter } from '../object/object-writer.ts'

/**
 * Builds the content of an object again without some of its events. Reads it from memory, or from the staged object.
 *
 * @param count how many events the content has
 * @param dropped the events to leave out, by their place; at least one event must remain
 * @param kept called with the JSON of each remaining event
 * @throws StoreUnavailable; ObjectNotFound if the staged object is gone; an error that `isDamage` if it is damaged
 */
export async function rebuild(
  parts: ObjectParts,
  content: ObjectContent,
  count: number,
  dropped: ReadonlyMap<number, unknown>,
  kept: (event: Buffer) => void,
): Promise<ObjectContent> {
  const { before, after } = framingOf(parts.format)
  const writer = new ObjectWriter(parts, () => {})
  let line = before.length === 0 ? 0 : -1
  try {
    for await (const piece of readPieces(
      sourceOf(parts, content),
      extensionOf(parts.format, parts.compression),
    )) {
      for (let start = 0; start < piece.length; line++) {
        const end = piece.indexOf(LINE_FEED, start)
        if (end === -1) throw new SyntaxError('the staged object is cut short')
        if (line >= 0 && !dropped.has(line) && !isEnd(piece, start, after)) {
          const event = eventIn(piece, start, end)
          writer.add(event)
          kept(event)
        }
        start = end + 1
      }
      await writer.unblocked()
    }
    if (line - (after.length > 1 ? 1 : 0) !== count) throw new SyntaxError('the staged object has lost lines')
  } catch (error) {
    writer.discard()
    throw error
  }
  return writer.end()
}

function sourceOf({ store }: ObjectParts, { body, staged }: ObjectContent) {
  return {
    get: async (): Promise<Readable> =>
      body === undefined ? store.get(staged as string) : Readable.from([body]),
  }
}

/** The JSON on a line, without the comma of the array format. */
function eventIn(piece: Buffer, start: number, end: number): Buffer {
  return piece.subarray(start, piece[end - 1] === COMMA ? end - 1 : end)
}

/** Whether the line is the end of the array. */
function isEnd(piece: Buffer, start: number, after: Buffer): boolean {
  return after.length > 1 && piece[start] === (after[1] as number)
}
