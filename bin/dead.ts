import { type Command, InvalidArgumentError } from 'commander'
import type { DeadFlags } from '../src/cli/dead.ts'
import { deadSettings } from '../src/cli/own-settings.ts'
import { addSettings, loadDotEnv } from './settings.ts'

type Verb = 'list' | 'show' | 'retry' | 'drop'

const LIMIT_MAX = 100_000

/** `frequency dead`, with the commands list (default), show, retry and drop. */
export function addDead(program: Command): void {
  const parent = program
    .command('dead')
    .description('List, show, retry or drop dead letters: messages that could not be archived.')
    .addHelpText(
      'after',
      `
With RabbitMQ it can run beside a server. The embedded queue belongs to one process: stop that process first.
list and show change nothing. All commands read settings and .env like serve.
Exit code: 0 if all was done, 1 if a letter was left or not found, 2 if the queue was not reached.`,
    )
  add(parent, 'list', 'List the dead letters, oldest first, with the reason of each.')
    .option('--limit <count>', 'How many to list. All are counted.', parseLimit, 100)
    .action((flags: DeadFlags) => run('list', [], flags))
  add(parent, 'show', 'Show one dead letter: its body and its properties.')
    .argument('<id>', 'Its id in the list.')
    .option('--raw', 'Print only its body, byte for byte.')
    .action((id: string, flags: DeadFlags) => run('show', [id], flags))
  add(parent, 'retry', 'Put dead letters on the queue again. Each is kept until the queue has it durably.')
    .argument('[ids...]', 'Their ids in the list.')
    .option('--all', 'All dead letters that are there now.')
    .action((ids: string[], flags: DeadFlags, command: Command) => runOnSome('retry', ids, flags, command))
  add(parent, 'drop', 'Delete dead letters for good.')
    .argument('[ids...]', 'Their ids in the list.')
    .option('--all', 'All dead letters that are there now.')
    .action((ids: string[], flags: DeadFlags, command: Command) => runOnSome('drop', ids, flags, command))
}

function add(parent: Command, verb: Verb, description: string): Command {
  const command = parent
    .command(verb, { isDefault: verb === 'list' })
    .description(description)
    .option('--json', 'Report as JSON.')
  addSettings(command, deadSettings)
  return command
}

async function runOnSome(verb: Verb, ids: string[], flags: DeadFlags, command: Command): Promise<void> {
  if ((ids.length === 0) === (flags.all !== true))
    command.error(`error: name the ids to ${verb}, or give --all, but not both`)
  await run(verb, ids, flags)
}

async function run(verb: Verb, ids: readonly string[], flags: DeadFlags): Promise<void> {
  loadDotEnv()
  // Imported here, so that the other commands do not load it.
  const commands = await import('../src/cli/dead.ts')
  process.exitCode = await commands.dead(commands[verb], ids, flags, process.env)
}

function parseLimit(text: string): number {
  const limit = Number(text)
  if (!Number.isInteger(limit) || limit < 0 || limit > LIMIT_MAX)
    throw new InvalidArgumentError(`It must be a whole number from 0 to ${LIMIT_MAX}.`)
  return limit
}
