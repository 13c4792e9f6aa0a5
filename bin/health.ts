import type { Command } from 'commander'
import type { HealthFlags } from '../src/cli/health.ts'
import { statusSettings } from '../src/cli/own-settings.ts'
import { addSettings, loadDotEnv } from './settings.ts'

/** `frequency health`. */
export function addHealth(program: Command): void {
  const command = program
    .command('health')
    .description('Ask a running process for /healthz, or for /readyz. For the health check of a container.')
    .option('--ready', 'Ask whether it does its work (/readyz), and not only whether it is alive (/healthz).')
    .option(
      '--url <url>',
      'The process to ask. Default: the process at ADMIN_HOST:ADMIN_PORT, or at HOST:PORT.',
    )
    .addHelpText(
      'after',
      `
Host and port are settings of the server. This command reads them, and .env, like serve.
Exit code: 0 if the process answers 200 within four seconds, else 1.`,
    )
    .action(async (flags: HealthFlags) => {
      loadDotEnv()
      // Imported here, so that the other commands do not load it.
      const { health } = await import('../src/cli/health.ts')
      process.exitCode = await health(flags, process.env)
    })
  addSettings(command, statusSettings)
}
