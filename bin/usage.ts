/** Wrong flags and commands: one line, with a suggestion if a name is similar; and the exit code. */
import type { Command } from 'commander'
import { EXIT_CODES } from '../src/cli/exit-codes.ts'

/** They answer yes or no. Docker reserves 2 in a health check, and a server that does not start has failed. */
const WITHOUT_CODE_2: ReadonlySet<string | undefined> = new Set(['serve', 'check', 'health'])

/** The exit code for a wrong flag or setting. @param command its name; undefined if there is none */
export function wrongUsageCode(command: string | undefined): number {
  return WITHOUT_CODE_2.has(command) ? EXIT_CODES.failed : EXIT_CODES.unusable
}

/** Sets messages and exit codes for the program and all commands below it. @param code of `command` */
export function explainWrongUsage(command: Command, code = wrongUsageCode(undefined)): void {
  command.showSuggestionAfterError(false).configureOutput({
    outputError: (text, write) => write(explained(text, command)),
  })
  command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : code))
  const isProgram = command.parent === null
  for (const each of command.commands) explainWrongUsage(each, isProgram ? wrongUsageCode(each.name()) : code)
}

function explained(text: string, command: Command): string {
  const line = text.trimEnd()
  const [, flag] = /^error: unknown option '(--[^'=]+)/.exec(line) ?? []
  if (flag !== undefined) return `${line}. ${didYouMean(flag, flagsOf(command)) || seeHelp(command)}\n`
  const [, name] = /^error: unknown command '([^']+)'/.exec(line) ?? []
  if (name !== undefined)
    return unknownCommand(name, command.commands.length > 0 ? command : (command.parent as Command))
  const mistyped = defaultOperand(command)
  if (mistyped !== undefined && line.startsWith('error: too many arguments'))
    return unknownCommand(mistyped, command.parent as Command)
  return `${line}\n`
}

/** @returns the word that commander gave to a default command as its argument: `lst` in `frequency dead lst` */
function defaultOperand(command: Command): string | undefined {
  const { parent } = command
  // The program itself has no default command.
  if (parent === null || parent.parent === null) return undefined
  const [first] = parent.args
  return first === command.name() || first?.startsWith('-') ? undefined : first
}

function unknownCommand(name: string, parent: Command): string {
  const suggestion = didYouMean(name, namesOf(parent))
  return `error: unknown command '${name}'. ${suggestion || `The commands are ${namesOf(parent).join(', ')}.`}\n`
}

/** Ends the process with an error if `word` was given to a default command, and is similar to the name of a command. */
export function refuseMistypedCommand(word: string, command: Command): void {
  const parent = command.parent as Command
  if (defaultOperand(command) !== word || nearest(word, namesOf(parent)) === undefined) return
  command.error(`error: unknown command '${word}'`)
}

function didYouMean(word: string, names: readonly string[]): string {
  const name = nearest(word, names)
  return name === undefined ? '' : `Did you mean ${name}?`
}

function seeHelp(command: Command): string {
  const names = [command.name()]
  for (let at = command.parent; at !== null; at = at.parent) names.unshift(at.name())
  return `See ${names.join(' ')} --help.`
}

function namesOf(parent: Command): string[] {
  return parent
    .createHelp()
    .visibleCommands(parent)
    .map(command => command.name())
    .filter(name => name !== 'help')
}

function flagsOf(command: Command): string[] {
  return command.options.map(({ long }) => long).filter(long => typeof long === 'string')
}

/**
 * @returns the only name that begins with `word` and a hyphen, or else the name with the fewest edits: at most a quarter
 *   of the letters of `word`, and one for a short word. Undefined if no name is that similar.
 */
function nearest(word: string, names: readonly string[]): string | undefined {
  const completions = names.filter(name => name.startsWith(`${word}-`))
  if (completions.length === 1) return completions[0]
  const letters = word.replace(/^-+/, '').length
  const [best] = names
    .map(name => ({ name, edits: editDistance(word, name) }))
    .filter(({ edits }) => edits <= Math.max(1, letters / 4))
    .toSorted((a, b) => a.edits - b.edits)
  return best?.name
}

/** @returns how many letters to insert, delete, replace, or swap with their neighbour (Damerau-Levenshtein) */
function editDistance(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, j) => j)]
  const at = (i: number, j: number) => rows[i]?.[j] ?? Number.POSITIVE_INFINITY
  for (let i = 1; i <= from.length; i++) {
    const row = [i]
    rows.push(row)
    for (let j = 1; j <= to.length; j++) {
      const isSame = from[i - 1] === to[j - 1]
      const isSwapped = from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]
      row.push(
        Math.min(
          at(i - 1, j) + 1,
          at(i, j - 1) + 1,
          at(i - 1, j - 1) + (isSame ? 0 : 1),
          isSwapped ? at(i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY,
        ),
      )
    }
  }
  return at(from.length, to.length)
}
