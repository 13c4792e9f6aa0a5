import { existsSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import type { LogFlags, Outcome } from '../src/cli/log.ts'
import { archiveSettings } from '../src/cli/own-settings.ts'
import type { Config } from '../src/config/config.ts'
import { addSettings, loadDotEnv } from './settings.ts'
import { refuseMistypedCommand } from './usage.ts'

const LIST_MAX_MAX = 100_000

/** `frequency log`, with the commands show (default), build and repair. */
export function addLog(program: Command): void {
  const parent = program
    .command('log')
    .description("Show, build or repair an archive's log: the records of what is archived.")
    .addHelpText(
      'after',
      `
All commands read AWS settings and .env like serve. docs/delivery.md explains the log.
Exit code: 0 if nothing is wrong, 1 if something is wrong or was not done, 2 if the command failed.`,
    )
  add(parent, 'show', 'Show the log and its records, by default the last ones. It only reads.')
    .argument('[archive-url]', ARCHIVE_URL_HELP)
    .option('--from <number>', 'The first record to show.', parseNumber)
    .option('--count <count>', 'How many records to show.', parseCount, 20)
    .action((archiveUrl: string | undefined, flags: LogFlags, command: Command) => {
      if (archiveUrl !== undefined && !existsSync(archiveUrl)) refuseMistypedCommand(archiveUrl, command)
      return run(async () => (await import('../src/cli/log-show.ts')).show, archiveUrl, flags)
    })
  add(parent, 'build', 'Build the log of an archive that has objects but no log.')
    .argument('[archive-url]', ARCHIVE_URL_HELP)
    .option('--list <count>', 'How many findings of each kind to list. All are counted.', parseCount, 20)
    .option('--no-progress', 'Show no progress on the terminal.')
    .addHelpText(
      'after',
      `
Stop all archivers first. The command reads all objects. Its last step creates the log; then archivers can start.
If it is interrupted there is no log yet: run it again, and it begins from the start. Damaged objects are listed, and
the log does not name them. Ids that occur twice are listed, and the log names both events. Large archives need
temporary space (TMPDIR): 22 bytes per event.`,
    )
    .action((archiveUrl: string | undefined, flags: LogFlags) =>
      run(async () => (await import('../src/cli/log-build.ts')).build, archiveUrl, flags),
    )
  add(parent, 'repair', 'Replace a damaged or missing record, at which archivers stop.')
    .argument('<record>', 'Its number, from the log of an archiver or the report of verify.', parseNumber)
    .argument('[archive-url]', ARCHIVE_URL_HELP)
    .option('--yes', 'Do it without asking.')
    .addHelpText(
      'after',
      `
The new record names the objects that no other record names. Archivers need not be stopped: if they wait at the
record, they continue by themselves. Without --yes the command says what it will do, and asks. If several records are
damaged, repair the lowest number first.`,
    )
    .action((number: number, archiveUrl: string | undefined, flags: LogFlags) =>
      run(async () => (await import('../src/cli/log-repair.ts')).repair(number), archiveUrl, flags),
    )
}

const ARCHIVE_URL_HELP = 'The archive: s3://bucket/prefix, or a directory. Default: ARCHIVE_URL.'

function add(parent: Command, verb: string, description: string): Command {
  const command = parent
    .command(verb, { isDefault: verb === 'show' })
    .description(description)
    .option('--json', 'Report as JSON.')
  addSettings(
    command,
    archiveSettings.filter(({ name }) => name !== 'archiveUrl'),
  )
  return command
}

async function run(
  load: () => Promise<(config: Config, flags: LogFlags) => Promise<Outcome>>,
  archiveUrl: string | undefined,
  flags: LogFlags,
): Promise<void> {
  loadDotEnv()
  // Imported here, so that the other commands do not load it.
  const { runOnLog } = await import('../src/cli/log.ts')
  process.exitCode = await runOnLog(await load(), archiveUrl, flags, process.env)
}

function parseNumber(text: string): number {
  const number = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number))
    throw new InvalidArgumentError('It must be a whole number from 0.')
  return number
}

function parseCount(text: string): number {
  const count = parseNumber(text)
  if (count > LIST_MAX_MAX) throw new InvalidArgumentError(`It must be at most ${LIST_MAX_MAX}.`)
  return count
}
