import type { Command } from 'commander'
import { settings } from '../src/config/config.ts'
import { outputClosed } from './closed-output.ts'
import { addSettings, loadDotEnv } from './settings.ts'

/** `frequency check`. */
export function addCheck(program: Command): void {
  const command = program
    .command('check')
    .description('Try the settings for real: disk, broker, queue and archive, a line each.')
    .option('--json', 'Report as JSON.')
    .addHelpText(
      'after',
      `
It can be run beside a server, and leaves nothing behind. Settings and .env are read as by serve.
Exit code: 1 where events would be lost, refused or not archived, else 0.`,
    )
    .action(async (flags: Record<string, string>) => {
      process.exitCode = 1
      loadDotEnv()
      // Only here, so that the other commands load no client of RabbitMQ.
      const { check } = await import('../src/cli/check.ts')
      const stopping = outputClosed()
      const exitCode = await check(flags, process.env, stopping)
      if (!stopping.aborted) process.exitCode = exitCode
    })
  addSettings(command, settings)
}
