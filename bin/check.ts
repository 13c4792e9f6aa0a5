import type { Command } from 'commander'
import { settings } from '../src/config/config.ts'
import { outputClosed } from './closed-output.ts'
import { addSettings, loadDotEnv } from './settings.ts'

/** `frequency check`. */
export function addCheck(program: Command): void {
  const command = program
    .command('check')
    .description('Test the settings on the real disk, broker, queue and archive. Prints one line per test.')
    .option('--json', 'Report as JSON.')
    .addHelpText(
      'after',
      `
It can run beside a server, and deletes what it writes. It reads settings and .env like serve.
Exit code: 1 if events would be lost, refused or not archived, else 0.`,
    )
    .action(async (flags: Record<string, string>) => {
      loadDotEnv()
      // Imported here, so that the other commands do not load the RabbitMQ client.
      const { check } = await import('../src/cli/check.ts')
      const stopping = outputClosed()
      const exitCode = await check(flags, process.env, stopping)
      if (!stopping.aborted) process.exitCode = exitCode
    })
  addSettings(command, settings)
}
