/** How a session reads an archive, and how far it is. */

export interface QuerySettings {
  readonly prefix: string
  readonly cacheDirectory: string
  readonly cacheBytesMax: number
  readonly residentBytesMax: number
  /** Disk that one query may take for what does not fit into memory. */
  readonly spillBytesMax: number
  readonly threads: number
}

export interface QueryProgress {
  objects: number
  events: number
}
