import { execFileSync } from 'node:child_process'
import { dirname } from 'node:path'

/** The commit of the working tree that a file is in, with a note if the tree has uncommitted changes. */
export function revisionOf(file: string): string {
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', dirname(file), ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  try {
    const isDirty = git('status', '--porcelain').trim() !== ''
    return `${git('rev-parse', 'HEAD').trim()}${isDirty ? ', with changes' : ''}`
  } catch {
    return 'unknown: not in a git repository'
  }
}
