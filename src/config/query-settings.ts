import { bytes, GIB, MIB } from './setting-types.ts'

/** The settings of `frequency query`. */
export const querySettings = {
  queryMemoryMax: bytes({
    default: 2 * GIB,
    minimum: 256 * MIB,
    description: 'Resident memory of the process that runs a query; past it the query is stopped.',
  }),
  queryCacheBytesMax: bytes({
    default: 4 * GIB,
    minimum: 0,
    description: 'Disk that queries may keep of what they have read of an archive, in DATA_DIR/query-cache.',
  }),
}
