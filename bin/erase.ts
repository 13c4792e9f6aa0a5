import type { Command } from 'commander'
import type { EraseFlags } from '../src/cli/erase.ts'
import { eraseSettings } from '../src/cli/own-settings.ts'
import { addSettings, loadDotEnv } from './settings.ts'

/** `frequency erase` */
export function addErase(program: Command): void {
  const command = program
    .command('erase')
    .description(
      'Erase what archived events say, for example of a user who asks for it. Their ids stay known.',
    )
    .option(
      '--where <condition>',
      `Which events: a condition in SQL on the columns of events: "user_id = '42'".`,
    )
    .option(
      '--suppress',
      'Drop events of these users from now on, within a minute: of --user-id, else of the events that match.',
    )
    .option('--user-id <id...>', 'With --suppress or --unsuppress: user ids.')
    .option('--anonymous-id <id...>', 'With --suppress or --unsuppress: anonymous ids.')
    .option('--unsuppress', 'Archive events of --user-id or --anonymous-id again.')
    .option('--dry-run', 'Say what would be erased, and change nothing.')
    .option('--yes', 'Do it without asking.')
    .option('--report <path>', 'A file for the report. Default: one in DATA_DIR/erasures.')
    .option('--json', 'Write the report to standard output, too.')
    .option('--no-progress', 'Show no progress on the terminal.')
    .addHelpText(
      'after',
      `
An erased event keeps its id, its source and the time of its receipt, so that it counts as archived and does not come
back. All else is gone: from the objects, from the records of the log, and from the table. Only objects and files with
such events are rewritten. It can run beside servers, and can be stopped at any time: run it again to go on. docs/erasure.md
says what it does not reach.

Exit code: 0 if all is done, 1 if something was refused, or you did not agree, 2 if an option or a setting is wrong, or
the archive could not be read or written, 130 after Ctrl-C.`,
    )
    .action(async (flags: EraseFlags) => {
      loadDotEnv()
      const { erase } = await import('../src/cli/erase.ts')
      process.exitCode = await erase(flags, process.env)
    })
  addSettings(command, eraseSettings)
}
