import { readFileSync } from 'node:fs'

/**
 * The first child of a process, as this machine sees it: of `unshare --fork` or systemd-nspawn the first process of the
 * new namespaces.
 *
 * @returns its pid; undefined if there is none, or if the process has ended
 */
export function firstChildOf(pid: number): number | undefined {
  try {
    const [child = ''] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
    return child === '' ? undefined : Number(child)
  } catch {
    return undefined
  }
}
