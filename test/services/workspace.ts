/**
 * A workspace is the directory of a group of processes. It ends them all when this process ends, in whatever way.
 *
 * A guard process, a shell, reads from a pipe to which only this process can write. The pipe ends on close(), and also
 * if this process exits, crashes or is killed. Then the guard reads every pid file `NAME.pid` in the directory, kills
 * that process group, and removes the directory.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hasExited } from './wait.ts'

const CLOSE_TIMEOUT_MS = 10_000

// The first rm fails if a process that is being killed still writes a file. So rm runs again after a second.
const GUARD = `
cat >/dev/null
for file in "$0"/*.pid; do
  [ -f "$file" ] && kill -KILL "-$(cat "$file")"
done
rm -rf "$0" || { sleep 1; rm -rf "$0"; }
`

export class Workspace {
  readonly dir: string
  #guard: ChildProcess

  /**
   * @param name part of the name of the directory
   * @param parent of the directory; default: the system's directory for temporary files
   */
  constructor(name: string, parent = tmpdir()) {
    this.dir = mkdtempSync(join(parent, `frequency-${name}-`))
    // Detached, so that Ctrl-C in the terminal does not end the guard before it has killed the processes.
    this.#guard = spawn('sh', ['-c', GUARD, this.dir], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    this.#guard.unref()
    const pipe = this.#guard.stdin as Socket
    pipe.unref()
    pipe.on('error', () => {})
  }

  /** Kills the processes that still run, and removes the directory. @throws Error if that takes longer than ten seconds */
  async close(): Promise<void> {
    this.#guard.stdin?.end()
    if (!(await hasExited(this.#guard, CLOSE_TIMEOUT_MS))) {
      throw new Error(`${this.dir} was not removed within ${CLOSE_TIMEOUT_MS} ms`)
    }
  }
}
