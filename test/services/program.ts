/** The program under test, or another server in Node, as a child process. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Child, type ChildOptions, type Ending } from './child-process.ts'
import { until } from './wait.ts'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Where `npm run build` writes, and buildProgram() of build.ts if it is called with this. */
export const DIST = join(ROOT, 'dist')
export const BUILT_PROGRAM = programIn(DIST)
/** The test runner adds hooks to every child process by NODE_OPTIONS. The program runs without them. */
const WITHOUT_HOOKS = ['env', '-u', 'NODE_OPTIONS']
const LISTENS = /listens on (http:\S+)/
const LISTENS_MS_MAX = 60_000
const STOP_MS_MAX = 60_000

export interface ProgramOptions
  extends Pick<ChildOptions, 'cwd' | 'workspace' | 'logFile' | 'outputCharsMax'> {
  /** Names the process in errors and files. @default 'the program' */
  readonly name?: string
  /** Options of Node. */
  readonly nodeArgs?: readonly string[]
  /** @default ['serve'] */
  readonly args?: readonly string[]
  /** The whole environment, except PATH. */
  readonly env?: NodeJS.ProcessEnv
  /** Limit of open file descriptors. @default that of this process */
  readonly filesMax?: number
  /** A command, with its arguments, that runs the program: strace, for example. */
  readonly under?: readonly string[]
  /** Runs the path itself, which is an executable, and not a script. @default false */
  readonly isExecutable?: boolean
}

export class Program extends Child {
  #url: string | undefined

  /** @param path of a JavaScript file, or of an executable */
  constructor(path: string, options: ProgramOptions) {
    const { name = 'the program', env = {}, cwd, workspace, logFile, outputCharsMax } = options
    const [command, ...args] = commandOf(path, options)
    super({
      name,
      command,
      args,
      env: { PATH: process.env.PATH, ...env },
      cwd,
      workspace,
      logFile,
      outputCharsMax,
    })
    this.onLine(line => {
      this.#url ??= LISTENS.exec(line)?.[1]
    })
  }

  /** Resolves to the program's URL. @throws Error with the output if it ends, or does not listen within a minute */
  async listening(): Promise<string> {
    const isDecided = () => this.#url !== undefined || this.hasEnded
    await until(`${this.name} listens`, LISTENS_MS_MAX, isDecided).catch(() => {})
    if (this.#url === undefined) throw new Error(`${this.name} does not listen:\n${this.output}`)
    return this.#url
  }

  /** Sends SIGTERM. @throws Error with the output if the program has not ended after a minute; then it is killed */
  override async stop(timeoutMs = STOP_MS_MAX): Promise<Ending> {
    return await super.stop(timeoutMs)
  }
}

/** @param dist the directory that the program was built into */
export function programIn(dist: string): string {
  return join(dist, 'bin', 'frequency.js')
}

// Each command replaces the one before it by exec, so the pid and the signals are the program's.
function commandOf(
  path: string,
  { args = ['serve'], nodeArgs = [], filesMax, under = [], isExecutable = false }: ProgramOptions,
): [string, ...string[]] {
  const run = isExecutable
    ? [...WITHOUT_HOOKS, ...under, path, ...args]
    : [...under, ...WITHOUT_HOOKS, process.execPath, ...nodeArgs, path, ...args]
  if (filesMax === undefined) return run as [string, ...string[]]
  return ['sh', '-c', `ulimit -n ${filesMax} && exec "$@"`, 'sh', ...run]
}
