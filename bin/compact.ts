import type { Command } from 'commander'
import type { CompactFlags } from '../src/cli/compact.ts'
import { compactSettings } from '../src/cli/own-settings.ts'
import { addSettings, loadDotEnv } from './settings.ts'

/** `frequency compact` */
export function addCompact(program: Command): void {
  const command = program
    .command('compact')
    .description('Put the events of each hour that is over into a table: Parquet and Apache Iceberg.')
    .option('--include-open', 'Also take the hour that is running. The rest of it becomes further files.')
    .option('--json', 'Report as JSON.')
    .option('--no-progress', 'Show no progress on the terminal.')
    .addHelpText(
      'after',
      `
The table is below table/ in the archive: docs/lake.md says how others read it. The command can run beside servers and
beside itself, and can be stopped at any time: run it again to go on. TABLE=on makes servers that archive do the same
by themselves. The objects stay.

Exit code: 0 if all is done, 1 if something was not done, 2 if an option or a setting is wrong, or the archive could not be
read or written, 130 after Ctrl-C.`,
    )
    .action(async (flags: CompactFlags) => {
      loadDotEnv()
      const { compact } = await import('../src/cli/compact.ts')
      process.exitCode = await compact(flags, process.env)
    })
  addSettings(command, compactSettings)
}
