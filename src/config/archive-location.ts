import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ConfigInvalid } from '../errors.ts'

export type ArchiveLocation =
  | {
      readonly kind: 'directory'
      readonly path: string
      readonly prefix: string
      /** The setting from which the path comes, for error messages. */
      readonly setting: 'ARCHIVE_URL' | 'DATA_DIR'
    }
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string }

/**
 * Reads `ARCHIVE_URL`. If it is not set, the archive is the directory `archive` in the data directory.
 *
 * @throws ConfigInvalid if the text is not a path, an `s3:` or a `file:` URL, or if the URL has a part that is not used
 */
export function archiveLocation(url: string | undefined, dataDir: string): ArchiveLocation {
  if (url === undefined) return directory(resolve(join(dataDir, 'archive')), 'DATA_DIR')
  if (!/^[a-z][a-z0-9+.-]*:/i.test(url)) return directory(resolve(url), 'ARCHIVE_URL')
  const parsed = parseUrl(url)
  if (parsed?.protocol === 'file:' && parsed.host === '' && !/%2f/i.test(parsed.pathname))
    return directory(fileURLToPath(parsed), 'ARCHIVE_URL')
  if (
    parsed?.protocol === 's3:' &&
    parsed.host !== '' &&
    parsed.search === '' &&
    parsed.hash === '' &&
    parsed.username === ''
  ) {
    const prefix = decodeURIComponent(parsed.pathname).replace(/^\/+|\/+$/g, '')
    return { kind: 's3', bucket: parsed.host, prefix: prefix === '' ? 'frequency' : prefix }
  }
  throw new ConfigInvalid('ARCHIVE_URL must be s3://bucket/prefix, file:///path or the path of a directory.')
}

function directory(path: string, setting: 'ARCHIVE_URL' | 'DATA_DIR'): ArchiveLocation {
  return { kind: 'directory', path, prefix: 'frequency', setting }
}

/** @returns undefined if the text is not a URL, or if its percent-encoding cannot be decoded. */
export function parseUrl(text: string): URL | undefined {
  try {
    const url = new URL(text)
    decodeURIComponent(url.href)
    return url
  } catch {
    return undefined
  }
}
