/** A server that is measured. */
import type { Ending } from '../test/services/child-process.ts'
import { Program } from '../test/services/program.ts'
import type { Workspace } from '../test/services/workspace.ts'

/** Servers print log lines for minutes; only the end is shown in errors. */
const OUTPUT_CHARS_MAX = 8_000

export interface ServerOptions {
  /** Names the pid file, so it is unique in the workspace. */
  readonly name: string
  /** Options of Node. */
  readonly nodeArgs?: readonly string[]
  readonly args: readonly string[]
  /** The whole environment, except PATH and NODE_ENV. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
}

export class ServerProcess extends Program {
  /** @param path of a JavaScript file */
  constructor(workspace: Workspace, path: string, { env, ...options }: ServerOptions) {
    super(path, {
      ...options,
      workspace,
      env: { NODE_ENV: 'production', ...env },
      outputCharsMax: OUTPUT_CHARS_MAX,
    })
  }

  /** Sends SIGTERM. @throws Error with the output if the server had ended by itself, fails, or takes more than a minute */
  override async stop(): Promise<Ending> {
    this.assertRunning()
    const ending = await super.stop()
    const { code, signal } = ending
    // A server without a handler of SIGTERM ends by it.
    if (code !== 0 && signal !== 'SIGTERM')
      throw new Error(`${this.name} ended with ${code ?? signal}:\n${this.output}`)
    return ending
  }
}
