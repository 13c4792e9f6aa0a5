/** What a command and its engine, a process of its own, say to each other. */

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

/** Makes the view `events`. */
export interface ViewRequest {
  readonly kind: 'view'
  readonly id: number
  readonly files: readonly string[]
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

export type Work = ConvertRequest | ViewRequest | QueryRequest | WriteRequest
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

export type EngineAnswer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'unavailable'; readonly message: string }
  | { readonly kind: 'done'; readonly id: number; readonly rows: number; readonly answer?: Answer }
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }

export type WithoutId<T> = T extends { readonly id: number } ? Omit<T, 'id'> : never
