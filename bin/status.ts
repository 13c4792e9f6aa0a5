import type { Command } from 'commander'
import { statusSettings } from '../src/cli/own-settings.ts'
import type { StatusFlags } from '../src/cli/status.ts'
import { addSettings, loadDotEnv } from './settings.ts'

const EXIT_ERROR = 2

/** `frequency status`. */
export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description(
      'Ask running processes how they are, and whether what was accepted is archived, waiting or dead.',
    )
    .option(
      '--url <url...>',
      'Processes to ask, all of a queue. Default: the one at HOST:PORT, or ADMIN_HOST:ADMIN_PORT.',
    )
    .option('--json', 'Report as JSON.')
    .addHelpText(
      'after',
      '\nHost and port are those of the server that is asked; they and .env are read as by serve.\nExit code: 0 where it adds up, 1 where it does not, 2 where that cannot be told.\nWhat is counted, and what is not, is in docs/operations.md.',
    )
    .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : EXIT_ERROR))
    .action(async (flags: StatusFlags) => {
      process.exitCode = EXIT_ERROR
      loadDotEnv()
      // Only here, so that the other commands do without.
      const { status } = await import('../src/cli/status.ts')
      process.exitCode = await status(flags, process.env)
    })
  addSettings(command, statusSettings)
}
