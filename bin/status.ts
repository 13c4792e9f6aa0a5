import type { Command } from 'commander'
import { statusSettings } from '../src/cli/own-settings.ts'
import type { StatusFlags } from '../src/cli/status.ts'
import { addSettings, loadDotEnv } from './settings.ts'

/** `frequency status`. */
export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description(
      'Show the state of running processes, and whether each accepted event is archived, waiting or dead.',
    )
    .option(
      '--url <url...>',
      'The processes to ask: all of one queue. Default: the process at ADMIN_HOST:ADMIN_PORT, or at HOST:PORT.',
    )
    .option('--json', 'Report as JSON.')
    .addHelpText(
      'after',
      `
Host and port are settings of the server. This command reads them, and .env, like serve. docs/operations.md says what
is counted.
Exit code: 0 if the counts add up, 1 if they do not, 2 if that is not known.`,
    )
    .action(async (flags: StatusFlags) => {
      loadDotEnv()
      // Imported here, so that the other commands do not load it.
      const { status } = await import('../src/cli/status.ts')
      process.exitCode = await status(flags, process.env)
    })
  addSettings(command, statusSettings)
}
