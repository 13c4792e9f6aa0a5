/** A checkout: `npm ci`, which builds it, then `npx frequency serve`. */
import type { Test } from 'tap'
import { startProgram } from '../bin/program.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { BUILT_PROGRAM } from '../services/program.ts'
import type { Way } from './main-job.ts'

/** What `npm ci` has built in this checkout. */
export async function checkout(t: Test): Promise<Way> {
  const cwd = temporaryDirectory(t)
  return {
    name: 'checkout',
    start: (args, env) => startProgram(t, BUILT_PROGRAM, { args, cwd, ...(env !== undefined && { env }) }),
  }
}
