/**
 * The program `client.*` of a language, as a child process. It is called with
 *
 * - `version`: prints the versions of the interpreter and of the library, in one line;
 * - `calls`: makes each of the six calls once, for the users 1 to 6;
 * - `send COUNT BATCH PAUSE_MS`: tracks COUNT events, for the users 1 to COUNT, in batches of BATCH, with a
 *   pause after each batch. It goes on after the first quarter when the library has said what became of that,
 *   and after the third when a line comes on stdin.
 *
 * and gets `CLIENT_URL`, `CLIENT_WRITE_KEY` and `CLIENT_GZIP` (`on` or `off`). As soon as the library has said
 * what became of a call, it prints `sent USER` or `lost USER REASON`. It exits with 0 after the last of them.
 * A line `note TEXT` tells what else the reader of the summary should know of the library.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import type { Command } from './language.ts'

const END_MS_MAX = 240_000
const WORD = /^(sent|lost) (\d+) ?(.*)$/gm
const NOTE = /^note (.*)$/gm

export interface ClientOptions {
  readonly url: string
  readonly writeKey: string
  readonly isZipped: boolean
}

export class Client {
  /** All that it has printed, on both streams. */
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

  /** Users whose calls the library believes sent. */
  get sent(): string[] {
    return this.#words('sent').map(({ user }) => user)
  }

  /** Users whose calls the library has given up, and why. */
  get lost(): { user: string; reason: string }[] {
    return this.#words('lost')
  }

  /** What it has told about the library, each note once. */
  get notes(): string[] {
    return [...new Set([...this.#stdout.matchAll(NOTE)].map(([, text = '']) => text))]
  }

  #words(kind: string): { user: string; reason: string }[] {
    // The last line may still be without its end.
    const lines = this.#stdout.slice(0, this.#stdout.lastIndexOf('\n') + 1)
    return [...lines.matchAll(WORD)]
      .filter(([, said]) => said === kind)
      .map(([, , user = '', reason = '']) => ({ user, reason }))
  }

  /** Lets it send the last quarter. */
  goOn(): void {
    // It may be gone already, or not want to hear it.
    this.#child.stdin?.on('error', () => {}).end('\n')
  }

  /** @throws Error with its output where it fails, or takes longer than four minutes */
  async ended(): Promise<void> {
    const code = await this.#ended
    if (code !== 0) throw new Error(`The client exited with ${code}:\n${this.output}`)
  }
}
