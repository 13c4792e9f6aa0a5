import type { Command } from 'commander'
import type { ExpireFlags } from '../src/cli/expire.ts'
import { expireSettings } from '../src/cli/own-settings.ts'
import { addSettings, loadDotEnv } from './settings.ts'

/** `frequency expire` */
export function addExpire(program: Command): void {
  const command = program
    .command('expire')
    .description('Remove days that are older than RETENTION, and objects older than RAW_RETENTION.')
    .option('--dry-run', 'Say what would be removed, and change nothing.')
    .option('--yes', 'Do it without asking.')
    .option('--record-only', 'Leave objects that have expired to a lifecycle rule of the bucket.')
    .option('--json', 'Report as JSON.')
    .option('--no-progress', 'Show no progress on the terminal.')
    .addHelpText(
      'after',
      `
Days are in UTC. RETENTION removes objects and files of the table. RAW_RETENTION removes objects whose events are all in
the table. Nothing is removed within DEDUPE_WINDOW_MS, which has to be that of the servers. The command can run beside
servers and beside itself, and can be stopped at any time: run it again to go on. Servers that archive run it once a day
if RETENTION or RAW_RETENTION is set. docs/retention.md says more.

Exit code: 0 if all is done, 1 if something was refused, or you did not agree, 2 if an option or a setting is wrong or missing,
or the archive could not be read or written, 130 after Ctrl-C.`,
    )
    .action(async (flags: ExpireFlags) => {
      loadDotEnv()
      const { expire } = await import('../src/cli/expire.ts')
      process.exitCode = await expire(flags, process.env)
    })
  addSettings(command, expireSettings)
}
