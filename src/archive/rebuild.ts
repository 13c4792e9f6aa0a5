import { Readable } from 'node:stream'
import { extensionOf, framingOf } from '../object/format.ts'
import { readPieces } from '../object/object-reader.ts'
import { type ObjectContent, type ObjectParts, ObjectWriter } from '../object/object-writer.ts'

const LINE_FEED = 0x0a
const COMMA = 0x2c

/**
 * Makes an object again without some of its events: from memory, or from where it is staged.
 *
 * @param count of its events
 * @param events to leave out, by their place; at least one is left
 * @param kept called with the JSON of each event that is left
 * @throws StoreUnavailable; ObjectNotFound, or an error that `isDamage`, where what was staged is lost
 */
export async function rebuild(
  parts: ObjectParts,
  content: ObjectContent,
  count: number,
  events: ReadonlyMap<number, unknown>,
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
        if (line >= 0 && !events.has(line) && !isEnd(piece, start, after)) {
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

/** A line without what the format puts behind it. */
function eventIn(piece: Buffer, start: number, end: number): Buffer {
  return piece.subarray(start, piece[end - 1] === COMMA ? end - 1 : end)
}

function isEnd(piece: Buffer, start: number, after: Buffer): boolean {
  return after.length > 1 && piece[start] === (after[1] as number)
}
