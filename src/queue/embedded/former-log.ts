/** Files of frequency 0.1, which kept the queue on disk in LMDB. This version cannot read them. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** 0.1 keeps `data.mdb` when the queue is empty, and deletes the other files. */
const LMDB_FILE = /^(data|\d{16})\.mdb$/

export function isFormerFile(name: string): boolean {
  return LMDB_FILE.test(name)
}

/**
 * @returns what to do if frequency 0.1 has left files in the directory. The directory may be missing.
 * @throws Error if the directory cannot be read
 */
export function formerLogIn(path: string): string | undefined {
  const file = namesIn(path).find(isFormerFile)
  if (file === undefined) return undefined
  return (
    `frequency 0.1 wrote the file ${file} there, and events may be in it. Start frequency 0.1 with this DATA_DIR once ` +
    'more, until it has archived all events. Then delete its *.mdb* files, as docs/upgrading.md says'
  )
}

/**
 * @returns the first directory of a DATA_DIR with files of frequency 0.1, and what to do
 * @throws Error if a directory cannot be read
 */
export function formerLogBelow(dataDir: string): string | undefined {
  const spools = join(dataDir, 'spool')
  const paths = [join(dataDir, 'queue'), ...namesIn(spools).map(number => join(spools, number))]
  for (const path of paths) {
    const former = formerLogIn(path)
    if (former !== undefined) return `${path}: ${former}`
  }
  return undefined
}

/** @returns nothing for what is missing, or is no directory */
function namesIn(path: string): string[] {
  try {
    return readdirSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw error
  }
}
