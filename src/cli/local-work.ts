/** Where commands that read an archive in SQL keep files on local disk. */

import { hash } from 'node:crypto'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import { GIB } from '../config/setting-types.ts'

const SPILL_BYTES_MIN = GIB

/** Of one archive. */
export function cacheDirectoryOf({ dataDir, archive }: Pick<Config, 'dataDir' | 'archive'>): string {
  return join(dataDir, 'query-cache', hash('sha256', JSON.stringify(archive)).slice(0, 8))
}

/** Disk that one run may take for what does not fit into memory. */
export function spillBytesMax({ queryCacheBytesMax }: Pick<Config, 'queryCacheBytesMax'>): number {
  return Math.max(queryCacheBytesMax, SPILL_BYTES_MIN)
}
