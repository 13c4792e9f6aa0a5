/** The single executable, on a machine with a C library and nothing else. */
import type { Test } from 'tap'
import { canBeMade, makeBareMachine, thisMachine } from '../binary/bare-machine.ts'
import { builtBinary } from './built-binary.ts'
import type { Way } from './main-job.ts'

export async function binary(t: Test): Promise<Way> {
  const executable = await builtBinary()
  const machine = canBeMade ? makeBareMachine(t, executable) : thisMachine(t, executable)
  return { name: 'binary', start: machine.start }
}
