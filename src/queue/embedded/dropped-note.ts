import { closeSync, constants, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { LogFiles } from './disk-log-files.ts'
import { OTHER_VERSION } from './disk-log-format.ts'
import type { Damage } from './disk-log-recovery.ts'
import type { SyncedNote } from './disk-log-segments.ts'

export const NOTE_NAME = 'dropped'
const MAGIC = 'frequency drop '
const LAYOUT = 3
const SLOT_BYTES = 64
/** The slots are in different disk sectors. So a write that a crash interrupts leaves the other slot intact. */
const SLOTS_AT = [0, 4096] as const
const CRC_AT = 60

/** The content of the file. */
interface Note {
  /** The log is dropped up to this key. */
  readonly dropped: number
  readonly tail: SyncedNote | undefined
}

/**
 * The file `dropped`: the key up to which a log is dropped, and the synced size of its last segment. It has two
 * slots, which are written in turn. The file is not synced: if the last note is lost, events are delivered again,
 * and nothing else happens.
 */
export class DroppedNote {
  readonly #fd: number
  readonly #files: LogFiles
  #ordinal: number
  #note: Note
  /** Set if the existing file has no valid slot. Then all entries of the log are delivered again. */
  readonly damage: Damage | undefined
  #writing: Promise<void> | undefined
  #isStale = false

  /** @throws Error if another version of frequency wrote the file; the system's error if it cannot be read or made */
  static async open(directory: string, files: LogFiles): Promise<DroppedNote> {
    const note = new DroppedNote(directory, files)
    // After this at least one slot is always intact, because a write touches only one of them.
    if (note.#ordinal === 0) await note.#begin()
    return note
  }

  private constructor(directory: string, files: LogFiles) {
    this.#files = files
    this.#fd = openSync(join(directory, NOTE_NAME), constants.O_RDWR | constants.O_CREAT)
    const file = Buffer.alloc(SLOTS_AT[1] + SLOT_BYTES)
    const bytes = readSync(this.#fd, file, 0, file.length, 0)
    const slots = SLOTS_AT.map(at => readSlot(file.subarray(at, at + SLOT_BYTES)))
    const newest = slots.reduce((a, b) => ((b?.ordinal ?? 0) > (a?.ordinal ?? 0) ? b : a))
    this.#ordinal = newest?.ordinal ?? 0
    this.#note = newest ?? { dropped: 0, tail: undefined }
    if (newest === undefined && file.some(byte => byte !== 0))
      this.damage = { file: NOTE_NAME, from: 0, to: bytes, events: 0 }
  }

  get dropped(): number {
    return this.#note.dropped
  }

  get tail(): SyncedNote | undefined {
    return this.#note.tail
  }

  /** Resolves when this note, or a newer one, is written. @throws the system's error */
  async write(note: Note): Promise<void> {
    this.#note = note
    this.#isStale = true
    await this.#writing?.catch(() => {})
    if (this.#isStale) this.#writing = this.#writeNewest()
    await this.#writing
  }

  async close(): Promise<void> {
    await this.#writing?.catch(() => {})
    closeSync(this.#fd)
  }

  async #begin(): Promise<void> {
    try {
      for (const _ of SLOTS_AT) await this.#writeNewest()
      await this.#files.sync(this.#fd)
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async #writeNewest(): Promise<void> {
    this.#isStale = false
    this.#ordinal++
    const slot = Buffer.alloc(SLOT_BYTES)
    slot.write(MAGIC, 'latin1')
    slot.writeUInt8(LAYOUT, MAGIC.length)
    slot.writeDoubleLE(this.#ordinal, 16)
    slot.writeDoubleLE(this.#note.dropped, 24)
    slot.writeDoubleLE(this.#note.tail?.firstKey ?? 0, 32)
    slot.writeUInt32LE(this.#note.tail?.synced ?? 0, 40)
    slot.writeUInt32LE(crc32(slot.subarray(0, CRC_AT)), CRC_AT)
    await this.#files.write(this.#fd, slot, SLOTS_AT[this.#ordinal % 2] as number)
  }
}

function readSlot(slot: Buffer): (Note & { ordinal: number }) | undefined {
  const isIntact =
    slot.toString('latin1', 0, MAGIC.length) === MAGIC &&
    slot.readUInt32LE(CRC_AT) === crc32(slot.subarray(0, CRC_AT))
  if (!isIntact) return undefined
  if (slot.readUInt8(MAGIC.length) !== LAYOUT) throw new Error(OTHER_VERSION)
  const firstKey = slot.readDoubleLE(32)
  return {
    ordinal: slot.readDoubleLE(16),
    dropped: slot.readDoubleLE(24),
    tail: firstKey === 0 ? undefined : { firstKey, synced: slot.readUInt32LE(40) },
  }
}
