import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * Copies a directory by hard links, so that gigabytes take no time. The program must replace its files and never change
 * them, as it does in archives and indexes of ids. The locks of processes are not copied. Does nothing if `from` does
 * not exist.
 */
export async function linkedCopy(from: string, to: string): Promise<void> {
  if (!existsSync(from)) return
  await run('cp', ['-al', from, to])
  for (const path of await filesBelow(to)) if (/\/lock[^/]*\//.test(path)) await rm(path)
}

/** Resolves to the disk space of the files below a directory, in bytes. */
export async function diskBytes(directory: string): Promise<number> {
  let bytes = 0
  for (const path of await filesBelow(directory)) bytes += (await stat(path)).blocks * 512
  return bytes
}

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries.filter(entry => !entry.isDirectory()).map(entry => join(entry.parentPath, entry.name))
}
