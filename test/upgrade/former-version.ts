/** frequency 0.1.0, from the history of this checkout: built once, and removed at the end. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { programIn, ROOT } from '../services/program.ts'

/** What docs/upgrading.md calls 0.1.0: the last commit before the log decides what is archived. */
export const FORMER_COMMIT = '14991d0ed89e7a8608c14065763f0d978bc2a9da'

const BUILD_MS_MAX = 600_000

/** @returns the path of its bin/frequency.js. @throws Error if the history does not have it, or it cannot be built */
export function buildFormerVersion(): string {
  const directory = mkdtempSync(join(tmpdir(), 'frequency-0.1-'))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  if (run('git', ['cat-file', '-e', `${FORMER_COMMIT}^{commit}`], ROOT) !== undefined)
    throw new Error(
      `The history of this checkout does not have frequency 0.1.0 (commit ${FORMER_COMMIT}). Fetch it: git fetch --unshallow`,
    )
  const steps = [
    run('git', ['archive', '--output', join(directory, 'source.tar'), FORMER_COMMIT], ROOT),
    run('tar', ['-xf', 'source.tar'], directory),
    // Builds dist too.
    run('npm', ['ci', '--no-audit', '--no-fund'], directory),
  ]
  const failure = steps.find(output => output !== undefined)
  if (failure !== undefined) throw new Error(`frequency 0.1.0 cannot be built: ${failure}`)
  return programIn(join(directory, 'dist'))
}

/** @returns the end of its output if the command failed */
function run(command: string, args: readonly string[], cwd: string): string | undefined {
  const { NODE_OPTIONS, ...env } = process.env
  const { status, error, stderr } = spawnSync(command, args, {
    cwd,
    env,
    encoding: 'utf8',
    timeout: BUILD_MS_MAX,
  })
  if (error !== undefined) return error.message
  return status === 0 ? undefined : `${command} ${args[0]}: ${stderr.slice(-2_000)}`
}
