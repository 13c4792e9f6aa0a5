import type { Break } from './break.ts'

const HISTORY = 'test/src/table/iceberg-history.test.ts'
const METADATA = 'test/src/table/iceberg.test.ts'
const WRITERS = 'test/src/table/iceberg-writers.test.ts'

const VERSIONS = 'src/table/iceberg/metadata-versions.ts'
const NEVER_BACK = 'The hint of the Iceberg table never goes backwards.'

export const TABLE_BREAKS: readonly Break[] = [
  {
    name: 'the hint is replaced in place of moved',
    promise: NEVER_BACK,
    file: VERSIONS,
    text: 'if (isNewest) await this.#store.move(key, this.#hintKey)',
    replacement: 'if (isNewest) await this.#store.replace(this.#hintKey, Buffer.from(String(version)))',
    checks: [WRITERS],
  },
  {
    name: 'a hint is moved although there is a newer version',
    promise: NEVER_BACK,
    file: VERSIONS,
    text: 'const isNewest = versions.at(-1) === version\n',
    replacement: 'const isNewest = true\n',
    checks: [WRITERS],
  },
  {
    name: 'hints that others are about to move are left',
    promise: NEVER_BACK,
    file: VERSIONS,
    text: 'hint.version < version || (!isNewest',
    replacement: '(!isNewest',
    checks: [WRITERS],
  },
  {
    name: 'a version of the Iceberg table replaces another one',
    promise: 'Of two writers of a version, one wins.',
    file: VERSIONS,
    text: 'await this.#store.create(this.key(version), bytes)',
    replacement: 'await this.#store.replace(this.key(version), bytes)',
    checks: [WRITERS],
  },
  {
    name: 'an older state is committed over a newer one',
    promise: 'The Iceberg table never goes backwards.',
    file: 'src/table/iceberg/commit-iceberg.ts',
    text: 'entryOf(base.metadata) >= state.number',
    replacement: 'entryOf(base.metadata) === state.number',
    checks: [METADATA, WRITERS],
  },
  {
    name: 'staged files are in the Iceberg table',
    promise: 'A file of the Iceberg table is at its path.',
    file: 'src/table/iceberg/commit-iceberg.ts',
    text: '.filter(({ isStaged }) => isStaged !== true)',
    replacement: '',
    checks: [METADATA],
  },
  {
    name: 'manifests of a writer that is under way are removed',
    promise: 'A version of the Iceberg table has all of its manifests.',
    file: 'src/table/iceberg/remove-unreferenced.ts',
    text: 'if (written <= last) removed.push(key)',
    replacement: 'removed.push(key)',
    checks: [WRITERS],
  },
  {
    name: 'manifests of newer snapshots are removed',
    promise: 'A kept snapshot has all of its manifests.',
    file: 'src/table/iceberg/remove-unreferenced.ts',
    text: '? version : oldestVersion',
    replacement: '? version : version',
    checks: [HISTORY],
  },
  {
    name: 'dropped history still names files that were removed',
    promise: 'After an erasure no metadata names a file that was removed.',
    file: 'src/table/iceberg/write-snapshot.ts',
    text: 'if (live.length === manifests.length) return undefined',
    replacement: 'if (live.length <= manifests.length) return undefined',
    checks: [HISTORY],
  },
  {
    name: 'a manifest that was cut off is taken for a whole one',
    promise: 'Damaged metadata is refused.',
    file: 'src/table/iceberg/avro-file.ts',
    text: '!bytes.subarray(-sync.length).equals(sync)',
    replacement: 'false',
    checks: [METADATA],
  },
]
