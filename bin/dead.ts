import { type Command, InvalidArgumentError } from 'commander'
import type { DeadFlags } from '../src/cli/dead.ts'
import { deadSettings } from '../src/cli/own-settings.ts'
import { addSettings, loadDotEnv } from './settings.ts'

type Verb = 'list' | 'show' | 'retry' | 'drop'

const EXIT_ERROR = 2
const LIMIT_MAX = 100_000

/** `frequency dead`, with a command for each thing that can be done with dead letters. */
export function addDead(program: Command): void {
  const parent = program
    .command('dead')
    .description('List, show, retry or drop what is in the dead-letter queue: what could not be archived.')
    .addHelpText(
      'after',
      `
With RabbitMQ it can be run beside a server; the embedded queue belongs to one process, so stop that first.
What is listed or shown stays where it is. Settings and .env are read as by serve.
Exit code: 0 where all was done, 1 where something was left or not found, 2 where the queue was not reached.`,
    )
  add(parent, 'list', 'The dead letters, oldest first, and why they are there.')
    .option('--limit <count>', 'How many are listed; all are counted.', parseLimit, 100)
    .action((flags: DeadFlags) => run('list', [], flags))
  add(parent, 'show', 'One of them, with all that came with it.')
    .argument('<id>', 'As the list gives it.')
    .option('--raw', 'Only its body, byte for byte.')
    .action((id: string, flags: DeadFlags) => run('show', [id], flags))
  add(parent, 'retry', 'Put them on the queue again; each leaves the dead letters once it is durable there.')
    .argument('[ids...]', 'As the list gives them.')
    .option('--all', 'All that are there now.')
    .action((ids: string[], flags: DeadFlags, command: Command) => runOnSome('retry', ids, flags, command))
  add(parent, 'drop', 'Delete them for good.')
    .argument('[ids...]', 'As the list gives them.')
    .option('--all', 'All that are there now.')
    .action((ids: string[], flags: DeadFlags, command: Command) => runOnSome('drop', ids, flags, command))
}

function add(parent: Command, verb: Verb, description: string): Command {
  const command = parent
    .command(verb, { isDefault: verb === 'list' })
    .description(description)
    .option('--json', 'Report as JSON.')
    .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : EXIT_ERROR))
  addSettings(command, deadSettings)
  return command
}

async function runOnSome(verb: Verb, ids: string[], flags: DeadFlags, command: Command): Promise<void> {
  if ((ids.length === 0) === (flags.all !== true))
    command.error(`error: name the ids to ${verb}, or give --all, and not both`)
  await run(verb, ids, flags)
}

async function run(verb: Verb, ids: readonly string[], flags: DeadFlags): Promise<void> {
  process.exitCode = EXIT_ERROR
  loadDotEnv()
  // Only here, so that the other commands do without.
  const commands = await import('../src/cli/dead.ts')
  process.exitCode = await commands.dead(commands[verb], ids, flags, process.env)
}

function parseLimit(text: string): number {
  const limit = Number(text)
  if (!Number.isInteger(limit) || limit < 0 || limit > LIMIT_MAX)
    throw new InvalidArgumentError(`It must be a whole number from 0 to ${LIMIT_MAX}.`)
  return limit
}
