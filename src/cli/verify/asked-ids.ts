import { createReadStream } from 'node:fs'
import { IdSet } from '../../dedupe/id-set.ts'
import { ConfigInvalid } from '../../errors.ts'
import { idDigest } from '../../event/message-id.ts'
import type { IdentifiedEvent } from '../../object/object-check.ts'
import { cutBetweenLines, linesOf } from '../../object/object-reader.ts'
import { IdRecords, type Share } from './id-records.ts'
import type { ScratchFile } from './scratch-file.ts'
import type { Smallest } from './smallest.ts'
import { TextList } from './text-list.ts'

/**
 * The messageIds that must be in an archive (--ids). A messageId is found if an event of any source has it: the file
 * names no sources, since a sender knows its ids, but not the source that its write key stands for.
 *
 * Memory: the blocks of two lists of id records, and two sets of one share's ids. On disk: the text and 22 bytes for
 * each id of the file, and 22 bytes for each archived event that has a source.
 */
export class AskedIds {
  readonly #texts: TextList
  readonly #asked: IdRecords
  /** MessageIds of the archived events that have a source. An event without one has its messageId as its identity. */
  readonly #ofSources: IdRecords

  private constructor(scratch: ScratchFile) {
    this.#texts = new TextList(scratch)
    this.#asked = new IdRecords(scratch)
    this.#ofSources = new IdRecords(scratch)
  }

  /** @throws ConfigInvalid if the file cannot be read. */
  static async read(idsFile: string, scratch: ScratchFile): Promise<AskedIds> {
    const ids = new AskedIds(scratch)
    try {
      for await (const piece of cutBetweenLines(createReadStream(idsFile))) {
        for (const line of linesOf(piece)) {
          const id = line.replace(/^\ufeff|\r$/g, '')
          if (id !== '') ids.#asked.add(idDigest(id), ids.#texts.add(id))
        }
      }
    } catch (cause) {
      throw new ConfigInvalid(`--ids: ${idsFile} cannot be read: ${(cause as Error).message}`, { cause })
    }
    return ids
  }

  get idRecords(): readonly IdRecords[] {
    return [this.#asked, this.#ofSources]
  }

  /** Adds an archived event. */
  add({ source, messageId }: IdentifiedEvent): void {
    if (typeof source === 'string') this.#ofSources.add(idDigest(messageId), 0)
  }

  /**
   * Looks for the ids of a share in the archive.
   *
   * @param identities of all archived events
   * @param missing is offered the number of each missing id, which `textOf` takes
   * @returns how many different ids of the file are in the share, and how many of them are missing
   */
  findMissing(
    share: Share,
    identities: IdRecords,
    missing: Smallest<number>,
  ): { asked: number; missing: number } {
    const asked = new IdSet()
    const archived = new IdSet()
    this.#asked.read(share, digest => {
      asked.add(digest)
    })
    for (const idRecords of [identities, this.#ofSources]) {
      idRecords.read(share, digest => {
        if (asked.has(digest)) archived.add(digest)
      })
    }
    const found = archived.size
    this.#asked.read(share, (digest, number) => {
      // Adds it, so that an id that the file repeats is offered once.
      if (archived.add(digest)) missing.offer(number)
    })
    return { asked: asked.size, missing: asked.size - found }
  }

  /** The messageId with this number, as the file has it. */
  textOf(number: number): string {
    return this.#texts.at(number)
  }
}
