/**
 * The program `client.*` of a language, as a child process. It is called with
 *
 * - `version`: prints the versions of the interpreter and of the library, in one line;
 * - `calls`: makes each of the six calls once, for the users 1 to 6;
 * - `send COUNT BATCH PAUSE_MS`: tracks COUNT events, for the users 1 to COUNT, in batches of BATCH, with a
 *   pause after each batch. After the first quarter it waits until the library has reported the result of each call,
 *   and after the third quarter until a line comes on stdin.
 *
 * and gets `CLIENT_URL`, `CLIENT_WRITE_KEY` and `CLIENT_GZIP` (`on` or `off`). When the library reports the result of a
 * call, the program prints `sent USER` or `lost USER REASON`. It exits with 0 after the last call.
 * A line `note TEXT` is another fact about the library, for the summary.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import type { Command } from './language.ts'

const END_MS_MAX = 240_000
const RESULT = /^(sent|lost) (\d+) ?(.*)$/gm
const NOTE = /^note (.*)$/gm

export interface ClientOptions {
  readonly url: string
  readonly writeKey: string
  readonly isZipped: boolean
}

export class Client {
  /** The output on both streams. */
  output = ''
  #stdout = ''
  readonly #child: ChildProcess
  readonly #ended: Promise<number | null>

  constructor(t: Test, command: Command, args: readonly string[], options: ClientOptions) {
    this.#child = spawn(command.file, [...command.args, ...args], {
      env: {
        ...process.env,
        ...command.env,
        CLIENT_URL: options.url,
        CLIENT_WRITE_KEY: options.writeKey,
        CLIENT_GZIP: options.isZipped ? 'on' : 'off',
      },
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: END_MS_MAX,
      killSignal: 'SIGKILL',
    })
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text
      this.output += text
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.output += text
    })
    this.#ended = once(this.#child, 'close').then(([code]) => code)
    t.teardown(() => this.#child.kill('SIGKILL'))
  }

  /** Users whose calls the library has reported as sent. */
  get sent(): string[] {
    return this.#results('sent').map(({ user }) => user)
  }

  /** Users whose calls the library has reported as failed, with the reason. */
  get lost(): { user: string; reason: string }[] {
    return this.#results('lost')
  }

  /** The notes about the library, each once. */
  get notes(): string[] {
    return [...new Set([...this.#stdout.matchAll(NOTE)].map(([, text = '']) => text))]
  }

  #results(kind: string): { user: string; reason: string }[] {
    // The last line may be incomplete.
    const lines = this.#stdout.slice(0, this.#stdout.lastIndexOf('\n') + 1)
    return [...lines.matchAll(RESULT)]
      .filter(([, result]) => result === kind)
      .map(([, , user = '', reason = '']) => ({ user, reason }))
  }

  /** Makes the program send the last quarter. */
  goOn(): void {
    // The program may have exited, or have closed its stdin.
    this.#child.stdin?.on('error', () => {}).end('\n')
  }

  /** Resolves when the program has exited. @throws Error with its output if it fails or takes longer than four minutes */
  async ended(): Promise<void> {
    const code = await this.#ended
    if (code !== 0) throw new Error(`The client exited with ${code}:\n${this.output}`)
  }
}
