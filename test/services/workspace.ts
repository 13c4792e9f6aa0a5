/**
 * A workspace is the directory of a group of servers and the guarantee that none of them outlives it.
 *
 * A guard, a shell of its own, waits for the end of a pipe whose other end only this process holds.
 * The pipe ends on close(), and just as well when this process exits, crashes or is killed. Then the
 * guard kills the process group of every pid file `NAME.pid` in the directory and removes it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hasExited } from './wait.ts'

const CLOSE_TIMEOUT_MS = 10_000

// The second rm is for a directory into which a process wrote while the first one went through it.
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
   * @param name goes into the directory's name
   * @param parent where the directory is made; default: the system's directory for temporary files
   */
  constructor(name: string, parent = tmpdir()) {
    this.dir = mkdtempSync(join(parent, `frequency-${name}-`))
    // Detached: an interrupt from the terminal must not end the guard before its work.
    this.#guard = spawn('sh', ['-c', GUARD, this.dir], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    this.#guard.unref()
    const pipe = this.#guard.stdin as Socket
    pipe.unref()
    pipe.on('error', () => {})
  }

  /** Kills what still runs and removes the directory. */
  async close(): Promise<void> {
    this.#guard.stdin?.end()
    if (!(await hasExited(this.#guard, CLOSE_TIMEOUT_MS))) {
      throw new Error(`${this.dir} was not removed within ${CLOSE_TIMEOUT_MS} ms`)
    }
  }
}
