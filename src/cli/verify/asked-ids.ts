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
 * The messageIds that must be in an archive. One is there if an event of any source has it. The file names
 * no sources: it is what a sender kept of its own ids, and the name of a write key is not its concern.
 *
 * Memory: the blocks of two ledgers, and two sets of one share's ids. On disk, 22 bytes for each id that is
 * asked for and for each archived event that has a source.
 */
export class AskedIds {
  readonly #texts: TextList
  readonly #asked: IdRecords
  /** MessageIds of archived events that have a source. Those of the others are their identities. */
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

  get ledgers(): readonly IdRecords[] {
    return [this.#asked, this.#ofSources]
  }

  /** Takes note of an archived event. */
  add({ source, messageId }: IdentifiedEvent): void {
    if (typeof source === 'string') this.#ofSources.add(idDigest(messageId), 0)
  }

  /**
   * Looks for the ids of a share.
   *
   * @param identities of all archived events
   * @param missing gets the number of each id that is not there, for `textOf`.
   */
  seek(share: Share, identities: IdRecords, missing: Smallest<number>): { asked: number; missing: number } {
    const asked = new IdSet()
    const named = new IdSet()
    this.#asked.read(share, digest => {
      asked.add(digest)
    })
    for (const ledger of [identities, this.#ofSources]) {
      ledger.read(share, digest => {
        if (asked.has(digest)) named.add(digest)
      })
    }
    const found = named.size
    this.#asked.read(share, (digest, number) => {
      if (named.add(digest)) missing.offer(number)
    })
    return { asked: asked.size, missing: asked.size - found }
  }

  textOf(number: number): string {
    return this.#texts.at(number)
  }
}
