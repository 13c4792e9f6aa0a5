import { existsSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import type { LogFlags, Outcome } from '../src/cli/log.ts'
import { archiveSettings } from '../src/cli/own-settings.ts'
import type { Config } from '../src/config/config.ts'
import { addSettings, loadDotEnv } from './settings.ts'
import { refuseMistypedCommand } from './usage.ts'

const EXIT_ERROR = 2
const LIST_MAX_MAX = 100_000

/** `frequency log`, with a command for each thing that can be done with an archive's log. */
export function addLog(program: Command): void {
  const parent = program
    .command('log')
    .description("Show, build or repair an archive's log: the records that say what is archived.")
    .addHelpText(
      'after',
      `
AWS settings and .env are read as by serve. What the log is, is in docs/delivery.md.
Exit code: 0 where all is well, 1 where something is not, 2 where it could not be done.`,
    )
  add(parent, 'show', 'What the log is, and its records: by default the last ones. It only reads.')
    .argument('[archive-url]', ARCHIVE)
    .option('--from <number>', 'The first record.', parseNumber)
    .option('--count <count>', 'How many records.', parseCount, 20)
    .action((archiveUrl: string | undefined, flags: LogFlags, command: Command) => {
      if (archiveUrl !== undefined && !existsSync(archiveUrl)) refuseMistypedCommand(archiveUrl, command)
      return run(async () => (await import('../src/cli/log-show.ts')).show, archiveUrl, flags)
    })
  add(parent, 'build', 'Build the log of an archive that has objects and none.')
    .argument('[archive-url]', ARCHIVE)
    .option('--list <count>', 'Findings of each kind that are listed; all are counted.', parseCount, 20)
    .option('--no-progress', 'Show no progress on the terminal.')
    .addHelpText(
      'after',
      `
Stop all archivers first. All objects are read; with the last step the log is there, and archivers can start. Until then
there is none: a build that was broken off is begun anew. Damaged objects are listed, and not named. Ids that are there
twice are listed, and named twice. Large archives need temporary space (TMPDIR): 22 bytes an event.`,
    )
    .action((archiveUrl: string | undefined, flags: LogFlags) =>
      run(async () => (await import('../src/cli/log-build.ts')).build, archiveUrl, flags),
    )
  add(parent, 'repair', 'Make a record anew that is damaged or gone, and that archivers stop at.')
    .argument('<record>', 'Its number, as archivers and verify say it.', parseNumber)
    .argument('[archive-url]', ARCHIVE)
    .option('--yes', 'Do it without being asked.')
    .addHelpText(
      'after',
      `
The new record names the objects that no other record names. Archivers that wait at it go on by themselves, and need
not be stopped. Without --yes it says what it will do, and asks. Repair the lowest number first.`,
    )
    .action((number: number, archiveUrl: string | undefined, flags: LogFlags) =>
      run(async () => (await import('../src/cli/log-repair.ts')).repair(number), archiveUrl, flags),
    )
}

const ARCHIVE = 'The archive: s3://bucket/prefix, or a directory. Default: ARCHIVE_URL.'

function add(parent: Command, verb: string, description: string): Command {
  const command = parent
    .command(verb, { isDefault: verb === 'show' })
    .description(description)
    .option('--json', 'Report as JSON.')
    .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : EXIT_ERROR))
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
  process.exitCode = EXIT_ERROR
  loadDotEnv()
  // Only here, so that the other commands do without.
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
