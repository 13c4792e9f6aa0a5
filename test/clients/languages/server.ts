/** The built program as the server of the clients. It can be killed and started again, and its archive can be read. */
import type { Test } from 'tap'
import { archivedObjects } from '../../bin/archived.ts'
import { startProgram } from '../../bin/program.ts'
import { configOf, temporaryDirectory } from '../../helpers/helper.ts'
import { freePort } from '../../services/ports.ts'

export const WRITE_KEY = 'a-key-that-is-secret'

export interface Running {
  readonly url: string
  kill(): Promise<void>
  /** Starts it again on the same port and the same data. Resolves when it listens. */
  start(): Promise<void>
  /** Stops the program, and resolves to the lines of its archive. */
  archivedLines(): Promise<string[]>
}

/** @param path of the built program */
export async function serve(t: Test, path: string): Promise<Running> {
  const cwd = temporaryDirectory(t)
  const PORT = String(await freePort())
  const begin = () => {
    const env = { PORT, WRITE_KEYS: `backend=${WRITE_KEY}`, BATCH_AGE_MS_MAX: '60000' }
    return startProgram(t, path, { cwd, env })
  }
  let program = begin()
  const url = await program.listening()
  return {
    url,
    kill: async () => {
      await program.kill('SIGKILL').ended
    },
    start: async () => {
      program = begin()
      await program.listening()
    },
    archivedLines: async () => {
      await program.stop()
      const objects = await archivedObjects(configOf({ DATA_DIR: `${cwd}/data` }))
      return objects.flatMap(({ lines }) => lines)
    },
  }
}
