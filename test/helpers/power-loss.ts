import { fstatSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type LogFiles, systemFiles } from '../../src/queue/embedded/disk-log-files.ts'
import type { Random } from './helper.ts'

const SECTOR_BYTES = 512

interface File {
  durable: Buffer
  unsynced: { position: number; data: Buffer }[]
}

/**
 * The files of a directory on a disk that may lose power. After that, synced data are on the disk. Of data that were
 * not synced, any sectors may be on the disk.
 */
export class PowerLossDisk implements LogFiles {
  /** Called before and after each write and each sync. */
  step: () => void = () => {}
  readonly #path: string
  readonly #random: Random
  readonly #files = new Map<string, File>()
  readonly #durableNames: Set<string>

  /** @param path of the directory; files that are already in it are on the disk */
  constructor(path: string, random: Random) {
    this.#path = path
    this.#random = random
    this.#durableNames = new Set(this.#names())
    for (const name of this.#durableNames)
      this.#files.set(name, { durable: readFileSync(join(path, name)), unsynced: [] })
  }

  async write(fd: number, data: Buffer, position: number): Promise<void> {
    this.#fileOf(fd)?.unsynced.push({ position, data: Buffer.from(data) })
    this.step()
    await systemFiles.write(fd, data, position)
    this.step()
  }

  async sync(fd: number): Promise<void> {
    const file = this.#fileOf(fd)
    const written = [...(file?.unsynced ?? [])]
    this.step()
    await systemFiles.sync(fd)
    if (file !== undefined) {
      for (const { position, data } of written) file.durable = patched(file.durable, position, data)
      file.unsynced = file.unsynced.filter(each => !written.includes(each))
    }
    this.step()
  }

  truncate(fd: number, bytes: number): Promise<void> {
    return systemFiles.truncate(fd, bytes)
  }

  async syncDirectory(path: string): Promise<void> {
    const names = this.#names()
    this.step()
    await systemFiles.syncDirectory(path)
    const gone = [...this.#durableNames].filter(name => !names.includes(name))
    for (const name of names) this.#durableNames.add(name)
    for (const name of gone) if (!this.#names().includes(name)) this.#durableNames.delete(name)
    this.step()
  }

  /** Writes the files as they may be on the disk if the power is lost now. @param path of an empty directory */
  loseTo(path: string): void {
    for (const name of new Set([...this.#names(), ...this.#durableNames])) {
      const isThere = this.#durableNames.has(name) && this.#names().includes(name)
      if (!isThere && this.#random(2) === 0) continue
      writeFileSync(join(path, name), this.#contents(name))
    }
  }

  #contents(name: string): Buffer {
    const { durable, unsynced } = this.#files.get(name) ?? { durable: Buffer.alloc(0), unsynced: [] }
    let file = durable
    for (const { position, data } of unsynced) {
      for (let at = 0; at < data.length; ) {
        const end = Math.min(data.length, at + SECTOR_BYTES - ((position + at) % SECTOR_BYTES))
        const sector = data.subarray(at, end)
        const fate = this.#random(4)
        // The sector is lost, or written; or the file has grown, and the sector has old content of the block.
        const isNew = position + at >= durable.length
        if (fate > 1) file = patched(file, position + at, sector)
        else if (fate === 1 && isNew) file = patched(file, position + at, this.#garbage(sector.length))
        at = end
      }
    }
    return file
  }

  #garbage(bytes: number): Buffer {
    return Buffer.alloc(bytes, this.#random(2) === 0 ? 0 : this.#random(256))
  }

  #fileOf(fd: number): File | undefined {
    const { ino } = fstatSync(fd)
    const name = this.#names().find(
      each => statSync(join(this.#path, each), { throwIfNoEntry: false })?.ino === ino,
    )
    if (name === undefined) return undefined
    const file = this.#files.get(name) ?? { durable: Buffer.alloc(0), unsynced: [] }
    this.#files.set(name, file)
    return file
  }

  #names(): string[] {
    return readdirSync(this.#path, { withFileTypes: true }).flatMap(each => (each.isFile() ? each.name : []))
  }
}

function patched(file: Buffer, position: number, data: Buffer): Buffer {
  const result = Buffer.alloc(Math.max(file.length, position + data.length))
  file.copy(result)
  data.copy(result, position)
  return result
}
