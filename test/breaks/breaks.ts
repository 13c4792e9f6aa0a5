import { ARCHIVE_BREAKS } from './archive-breaks.ts'
import type { Break } from './break.ts'
import { LOG_BREAKS } from './log-breaks.ts'
import { QUEUE_BREAKS } from './queue-breaks.ts'
import { ROW_BREAKS } from './row-breaks.ts'
import { STORE_BREAKS } from './store-breaks.ts'
import { TABLE_BREAKS } from './table-breaks.ts'

/** All breaks of the durable path. */
export const BREAKS: readonly Break[] = [
  ...LOG_BREAKS,
  ...ARCHIVE_BREAKS,
  ...QUEUE_BREAKS,
  ...ROW_BREAKS,
  ...STORE_BREAKS,
  ...TABLE_BREAKS,
]
