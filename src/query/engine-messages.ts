/** What a command and its engine, a process of its own, say to each other. */

import type { ColumnStats, TableColumn } from '../table/table-entry.ts'
import type { RowsOfHours } from './coverage.ts'

/** The hidden command of this program that runs `serveEngine`. */
export const ENGINE_COMMAND = 'query-engine'

/** The user that an engine of root's becomes before it runs SQL: `nobody`, by the number that Debian and Red Hat use. */
export const NOBODY = 65_534

export type OutputFormat = 'csv' | 'json' | 'ndjson' | 'parquet'

/** The texts of the only column, one a line. A text has no line feed, and no NULL. */
export type LinesFormat = 'lines'

export interface OpenRequest {
  readonly kind: 'open'
  readonly options: EngineOptions
}

export interface EngineOptions {
  /** Holds the files of `events`, and takes what spills and what `into` names. Nothing else can be read or written. */
  readonly directory: string
  /** Bytes that DuckDB may allocate, as far as it counts them. */
  readonly memoryBytesMax: number
  /** Bytes that DuckDB may write to disk for what does not fit into memory. */
  readonly spillBytesMax: number
  readonly threads: number
  /** The engine may run SQL of the user's: see select-only.ts. */
  readonly isForUser: boolean
  /** An answer has the order of what it is made of. It takes more memory. @default `isForUser` */
  readonly keepsOrder?: boolean | undefined
  /** DuckDB's native part; undefined if it is where npm has put it. */
  readonly addonPath: string | undefined
}

/** A file of rows (event-rows.ts). */
export interface RowsFile {
  readonly path: string
  readonly count: number
  readonly bytes: number
  /** Length of the longest row, in bytes. */
  readonly longest: number
}

/** Makes a Parquet file of a file of rows (event-rows.ts). */
export interface ConvertRequest {
  readonly kind: 'convert'
  readonly id: number
  readonly rows: RowsFile
  readonly parquet: string
}

/** Makes the files of the table for one hour. */
export interface CompactRequest {
  readonly kind: 'compact'
  readonly id: number
  /** Files of rows by the span of their batches. */
  readonly sources: readonly RowsOfSpan[]
  /** Hours since 1970. */
  readonly hour: number
  /** Typed columns. */
  readonly columns: readonly TableColumn[]
  /** The path of the files, which get a number and an extension. */
  readonly path: string
}

/** Makes a Parquet file of `message_id`, `source` and `keeps_source`. */
export interface IdsRequest {
  readonly kind: 'ids'
  readonly id: number
  /** NDJSON. */
  readonly rows: string
  readonly parquet: string
}

/** Counts events in files of the table. */
export interface FindRequest {
  readonly kind: 'find'
  readonly id: number
  readonly files: readonly string[]
  /** The file of an `IdsRequest`. */
  readonly ids: string
  /** A Parquet file to be made of where the events are, for `EraseRequest`. */
  readonly places?: string | undefined
}

export interface FoundPlaces {
  readonly parquet: string
  readonly path: string
}

/** Makes a file of a file of the table, without what some events say. */
export interface EraseRequest {
  readonly kind: 'erase'
  readonly id: number
  readonly file: string
  /** The `places` of a `FindRequest`, and the path of the file in it. */
  readonly places: FoundPlaces
  /** Typed columns of the file. */
  readonly columns: readonly TableColumn[]
  readonly parquet: string
}

/** A file of rows of batches that have the same first and last hour. */
export interface RowsOfSpan {
  readonly rows: RowsFile
  readonly firstHour: number
  readonly lastHour: number
}

/** A file of the table that was made, on local disk. */
export interface MadeFile {
  readonly path: string
  /** Null: its events have no time. */
  readonly hour: number | null
  readonly rows: number
  readonly stats: Readonly<Record<string, ColumnStats>>
}

/** A Parquet file of the view `events`. */
export interface ViewSource {
  readonly path: string
  /** A file of the cache, or of the table. */
  readonly kind: 'cached' | 'table'
  /** The rows that count. @default all */
  readonly only?: RowsOfHours | undefined
}

/** Makes the view `events`. */
export interface ViewRequest {
  readonly kind: 'view'
  readonly id: number
  readonly sources: readonly ViewSource[]
  /** Milliseconds since 1970. */
  readonly since: number | undefined
  readonly until: number | undefined
}

export interface QueryRequest {
  readonly kind: 'query'
  readonly id: number
  readonly sql: string
  /** Rows that are sent, as texts. */
  readonly rowsMax: number
}

/** Parses and binds a query, and does not run it. */
export interface CheckRequest {
  readonly kind: 'check'
  readonly id: number
  readonly sql: string
}

/** Writes the answer into a file. */
export interface WriteRequest {
  readonly kind: 'write'
  readonly id: number
  readonly sql: string
  readonly format: OutputFormat | LinesFormat
  readonly path: string
}

export interface InterruptRequest {
  readonly kind: 'interrupt'
}

export type Work =
  | ConvertRequest
  | CompactRequest
  | IdsRequest
  | FindRequest
  | EraseRequest
  | ViewRequest
  | CheckRequest
  | QueryRequest
  | WriteRequest
export type EngineRequest = OpenRequest | Work | InterruptRequest

export interface Column {
  readonly name: string
  /** As DuckDB writes it: `VARCHAR`. */
  readonly type: string
  /** Shown at the right: a number. */
  readonly isNumber: boolean
}

export interface Answer {
  readonly columns: readonly Column[]
  /** Null for NULL. */
  readonly rows: readonly (readonly (string | null)[])[]
  /** There are more than were asked for. */
  readonly hasMore: boolean
}

export interface Done {
  readonly rows: number
  readonly answer?: Answer | undefined
  /** Of a `CompactRequest` and an `EraseRequest`. */
  readonly files?: readonly MadeFile[] | undefined
  /** Of a `FindRequest`: files that have some of the events. */
  readonly counts?: readonly (readonly [path: string, count: number])[] | undefined
}

export type EngineAnswer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'unavailable'; readonly message: string }
  | ({ readonly kind: 'done'; readonly id: number } & Done)
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }

export type WithoutId<T> = T extends { readonly id: number } ? Omit<T, 'id'> : never
