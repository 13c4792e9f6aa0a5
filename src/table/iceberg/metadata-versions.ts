/**
 * Finds and creates the versions of an Iceberg table's metadata, and keeps the hint that names the newest one.
 *
 *     metadata/v12.metadata.json              a version; created on condition that there is none
 *     metadata/version-hint.text              "12": where readers begin; they then probe upward
 *     metadata/version-hint.12.<UUID>         a hint that is about to be moved there
 *
 * The newest version is the highest one in a listing. There are few, because old ones are removed. So a writer that was
 * paused for long may create a version whose number was used before. It is below the newest one, counts for nothing,
 * and is removed with the old ones.
 *
 * The hint never goes backwards, although no store needs a conditional replace for it: a hint is written by a move of
 * an object that exists once. Before the move of a hint, the older ones that others may be about to move are removed.
 * A writer that was paused before its move finds its object gone.
 */

import { randomUUID } from 'node:crypto'
import { StoreUnavailable } from '../../errors.ts'
import type { ObjectStore } from '../../store/store.ts'
import type { TableKeys } from '../table-keys.ts'

const TRIES_MAX = 20

export interface MetadataVersion {
  readonly version: number
  readonly bytes: Buffer
}

interface Listed {
  /** Ascending. */
  readonly versions: readonly number[]
  readonly hints: readonly { readonly key: string; readonly version: number }[]
}

export class MetadataVersions {
  readonly #store: ObjectStore
  readonly #keys: TableKeys

  constructor(store: ObjectStore, keys: TableKeys) {
    this.#store = store
    this.#keys = keys
  }

  key(version: number): string {
    return `${this.#keys.metadata}v${version}.metadata.json`
  }

  get #hintKey(): string {
    return `${this.#keys.metadata}version-hint.text`
  }

  /** @returns undefined if there is no version @throws StoreUnavailable */
  async newest(): Promise<MetadataVersion | undefined> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const version = (await this.#list()).versions.at(-1)
      if (version === undefined) return undefined
      const { object } = await this.#store.read(this.key(version))
      if (object !== undefined) return { version, bytes: object.body }
    }
    throw new StoreUnavailable(
      `The newest version below ${this.#keys.metadata} is listed, but cannot be read.`,
    )
  }

  async isNewest(version: number): Promise<boolean> {
    return (await this.#list()).versions.at(-1) === version
  }

  /**
   * Creates a version unless there is one with this number. The caller then asks for the newest version, which says
   * whether this one counts.
   *
   * @throws StoreUnavailable if it is not known whether the version was created
   */
  async create({ version, bytes }: MetadataVersion): Promise<void> {
    await this.#store.create(this.key(version), bytes)
  }

  /** Resolves when the hint names the newest version, or a newer one. @throws StoreUnavailable */
  async publishHint(): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const version = (await this.#list()).versions.at(-1)
      if (version === undefined || (await this.#isHinted(version))) return
      const key = `${this.#keys.metadata}version-hint.${version}.${randomUUID()}`
      await this.#store.create(key, Buffer.from(String(version)))
      await this.#move(key, version)
    }
    throw new StoreUnavailable(`${this.#hintKey} was not brought up to the newest version of the table.`)
  }

  /** Removes the versions below this one that are not to be kept. The hint names this one, so others are not needed. */
  async removeBelow(version: number, isKept: (key: string) => boolean): Promise<void> {
    const { versions, hints } = await this.#list()
    const old = versions.filter(each => each < version).map(each => this.key(each))
    const oldHints = hints.filter(hint => hint.version <= version).map(({ key }) => key)
    const removed = [...old.filter(key => !isKept(key)), ...oldHints]
    if (removed.length > 0) await this.#store.remove(removed)
  }

  /** Moves a hint into place, unless there is a newer version. */
  async #move(key: string, version: number): Promise<void> {
    const { versions, hints } = await this.#list()
    const isNewest = versions.at(-1) === version
    const useless = hints.filter(hint => hint.version < version || (!isNewest && hint.key === key))
    if (useless.length > 0) await this.#store.remove(useless.map(hint => hint.key))
    if (isNewest) await this.#store.move(key, this.#hintKey)
  }

  /** Whether the hint names this version, or a newer one that has been created since. */
  async #isHinted(version: number): Promise<boolean> {
    const { object } = await this.#store.read(this.#hintKey)
    const text = object?.body.toString().trim() ?? ''
    const hint = /^\d{1,15}$/.test(text) ? Number(text) : -1
    if (hint <= version) return hint === version
    return (await this.#store.read(this.key(hint))).object !== undefined
  }

  async #list(): Promise<Listed> {
    const versions: number[] = []
    const hints: { key: string; version: number }[] = []
    const { metadata } = this.#keys
    for await (const key of this.#store.list(`${metadata}v`)) {
      const name = key.slice(metadata.length)
      const version = /^v(\d{1,15})\.metadata\.json$/.exec(name)?.[1]
      const hint = /^version-hint\.(\d{1,15})\./.exec(name)?.[1]
      if (version !== undefined) versions.push(Number(version))
      else if (hint !== undefined) hints.push({ key, version: Number(hint) })
    }
    return { versions: versions.sort((a, b) => a - b), hints }
  }
}
