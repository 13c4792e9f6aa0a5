import { execFileSync } from 'node:child_process'
import { dirname } from 'node:path'

/** The commit whose tree a file is in, and whether that has changes that are not committed. */
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
