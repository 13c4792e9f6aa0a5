import { oneOf, optionalText } from './setting-types.ts'

/** The settings of the table. */
export const tableSettings = {
  table: oneOf(['off', 'on'], {
    default: 'off',
    description:
      'Whether roles that archive also put each hour that is over into a table: Parquet files and Apache Iceberg, below table/ in the archive (on or off).',
  }),
  tableColumns: optionalText({
    fallback: 'none',
    description:
      'Members of events that get a typed column of their own in the table, as properties.plan:string,properties.price:double. Types: string, long, double, boolean, timestamptz.',
  }),
}
