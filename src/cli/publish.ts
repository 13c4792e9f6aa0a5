import type { Config } from '../config/config.ts'
import type { ObjectStore } from '../store/store.ts'
import type { TableState } from '../table/table-state.ts'

/** Brings the metadata that other readers need up to a table. */
export function publisherOf(_store: ObjectStore, _config: Config): (table: TableState) => Promise<void> {
  return async () => {}
}
