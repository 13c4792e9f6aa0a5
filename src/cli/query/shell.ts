/** A prompt for queries. A statement ends with a semicolon at the end of a line; it may have several lines. */

import { appendFileSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { QueryFailed } from '../../errors.ts'

const PROMPT = 'frequency> '
const MORE = '        -> '
const HISTORY_MAX = 1_000
/** As in the shells of DuckDB, SQLite, PostgreSQL and MySQL. */
const END = /^\s*(?:\.exit|\.quit|\\q|(?:exit|quit)\s*;?)\s*$/i
const COMMAND = /^\s*[.\\]/
const HELP = `Type a SELECT, and end it with a semicolon. The view events has the archived events.
  describe events;   its columns
  .help              this text
  .exit, \\q, Ctrl-D  ends
  Ctrl-C             stops the query that runs, or forgets what was typed
`

export interface ShellParts {
  readonly input: NodeJS.ReadStream
  readonly output: NodeJS.WriteStream
  /** Runs one statement, and prints its answer. @throws QueryFailed */
  run(sql: string): Promise<void>
  /** Stops the statement that runs. */
  interrupt(): void
}

/** Runs statements until the end of the input, one after the other. @returns whether all of them had an answer */
export async function runShell({ input, output, run, interrupt }: ShellParts): Promise<boolean> {
  const isTerminal = input.isTTY === true
  const reader = createInterface({
    input,
    ...(isTerminal && { output, history: readHistory(), historySize: HISTORY_MAX }),
    prompt: PROMPT,
  })
  let typed: string[] = []
  let isRunning = false
  let allAnswered = true
  reader.on('SIGINT', () => {
    if (isRunning) interrupt()
    else {
      typed = []
      output.write('\n')
      prompt(reader, PROMPT, isTerminal)
    }
  })
  if (isTerminal) output.write('Type .help for help.\n')
  prompt(reader, PROMPT, isTerminal)
  for await (const line of reader) {
    const isFirst = typed.length === 0
    if (isFirst && END.test(line)) break
    if (isFirst && COMMAND.test(line)) {
      output.write(HELP)
    } else if (line.trim() !== '' || typed.length > 0) {
      typed.push(line)
      if (/;\s*$/.test(line)) {
        const sql = typed.join('\n')
        typed = []
        if (isTerminal) appendHistory(sql)
        isRunning = true
        allAnswered = (await isAnswered(run, sql)) && allAnswered
        isRunning = false
      }
    }
    prompt(reader, typed.length === 0 ? PROMPT : MORE, isTerminal)
  }
  reader.close()
  if (typed.length === 0 || isTerminal) return allAnswered
  process.stderr.write('The last statement has no semicolon, and was not run.\n')
  return false
}

async function isAnswered(run: (sql: string) => Promise<void>, sql: string): Promise<boolean> {
  try {
    await run(sql)
    return true
  } catch (error) {
    if (!(error instanceof QueryFailed)) throw error
    process.stderr.write(`${error.message}\n`)
    return false
  }
}

function prompt(reader: Interface, text: string, isTerminal: boolean): void {
  if (!isTerminal) return
  reader.setPrompt(text)
  reader.prompt()
}

function historyPath(): string {
  return join(homedir(), '.frequency_history')
}

/** The last statements, the newest first, each on one line. */
function readHistory(): string[] {
  try {
    return readFileSync(historyPath(), 'utf8').split('\n').filter(Boolean).slice(-HISTORY_MAX).reverse()
  } catch {
    return []
  }
}

/** A home directory that cannot be written costs the history, and nothing else. */
function appendHistory(sql: string): void {
  try {
    appendFileSync(historyPath(), `${sql.replace(/\s*\n\s*/g, ' ')}\n`, { mode: 0o600 })
  } catch {}
}
