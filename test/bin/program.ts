/** The built program in a test. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { buildProgram as build } from '../../build.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { Program, type ProgramOptions, programIn, ROOT } from '../services/program.ts'

/**
 * Builds the program as `npm run build` does, but not into `dist`: test files that run at the same time would
 * overwrite each other's program.
 *
 * @returns the path of bin/frequency.js; the build is removed at the end of the test
 */
export async function buildProgram(t: Test): Promise<string> {
  mkdirSync(join(ROOT, '.tap'), { recursive: true })
  const directory = mkdtempSync(join(ROOT, '.tap', 'program-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  symlinkSync(join(ROOT, 'package.json'), join(directory, 'package.json'))
  const dist = join(directory, 'dist')
  await build(dist)
  return programIn(dist)
}

export interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

const END_MS_MAX = 120_000

/** Runs a command of the program to its end, in a directory of its own. @throws Error if it does not end */
export async function runProgram(
  t: Test,
  path: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<Run> {
  const program = startProgram(t, path, { args, env, cwd: temporaryDirectory(t) })
  const { code } = await program.endsWithin(END_MS_MAX)
  return { code, stdout: program.stdout, stderr: program.stderr }
}

/** Starts the program, and kills it at the end of the test if it still runs. */
export function startProgram(t: Test, path: string, options: ProgramOptions): Program {
  const program = new Program(path, options)
  t.teardown(() => program.kill('SIGKILL').ended)
  return program
}
