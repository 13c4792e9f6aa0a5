/** How wrong flags and commands are told: on one line, and with a guess where one is near. */
import type { Command } from 'commander'

/** Applies to the command and to all below it. */
export function tellWrongUsage(command: Command): void {
  command.showSuggestionAfterError(false).configureOutput({
    outputError: (text, write) => write(explained(text, command)),
  })
  for (const each of command.commands) tellWrongUsage(each)
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

/** The first word after a command that has a default one: `lst` of `frequency dead lst`. */
function defaultOperand(command: Command): string | undefined {
  const { parent } = command
  // The program itself has no default command.
  if (parent === null || parent.parent === null) return undefined
  const [first] = parent.args
  return first === command.name() || first?.startsWith('-') ? undefined : first
}

function unknownCommand(name: string, parent: Command): string {
  const guess = didYouMean(name, namesOf(parent))
  return `error: unknown command '${name}'. ${guess || `There are ${namesOf(parent).join(', ')}.`}\n`
}

/** A word that was taken for an argument of the default command, and is nearly the name of another one. */
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
  return parent.commands.map(command => command.name())
}

function flagsOf(command: Command): string[] {
  return command.options.map(({ long }) => long).filter(long => typeof long === 'string')
}

/** One that begins with the word, or differs in at most a quarter of its letters (one, where it is short). */
function nearest(word: string, names: readonly string[]): string | undefined {
  const longer = names.filter(name => name.startsWith(`${word}-`))
  if (longer.length === 1) return longer[0]
  const letters = word.replace(/^-+/, '').length
  const [best] = names
    .map(name => ({ name, edits: editDistance(word, name) }))
    .filter(({ edits }) => edits <= Math.max(1, letters / 4))
    .toSorted((a, b) => a.edits - b.edits)
  return best?.name
}

/** Letters to insert, delete, replace, or swap with their neighbour. */
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
