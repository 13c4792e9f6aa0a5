/** Where the Iceberg metadata says that the table and its files are. */

import { join } from 'node:path'
import type { ArchiveLocation } from '../../config/archive-location.ts'
import type { TableKeys } from '../table-keys.ts'

export interface IcebergLocation {
  /** Without a slash at its end. */
  readonly location: string
  /** The URI or path of an object. */
  toUri(key: string): string
}

/**
 * `s3://bucket/key`; in a directory an absolute path: DuckDB, ClickHouse, PyIceberg and Spark take a path and a `file:`
 * URL, but only a path can be pasted into a statement without thinking of its encoding.
 */
export function icebergLocation(archive: ArchiveLocation, { table }: TableKeys): IcebergLocation {
  const toUri =
    archive.kind === 's3'
      ? (key: string) => `s3://${archive.bucket}/${key}`
      : (key: string) => join(archive.path, key)
  return { location: toUri(table.slice(0, -1)), toUri }
}
