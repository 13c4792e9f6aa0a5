import type { Command } from 'commander'
import type { TailFlags } from '../src/cli/tail.ts'
import { loadDotEnv } from './settings.ts'

export function addTail(program: Command): void {
  program
    .command('tail')
    .description('Show events as a running server takes them. What is archived stays the same.')
    .option('--url <url>', 'The server. Default: the one at HOST:PORT, or ADMIN_HOST:ADMIN_PORT.')
    .option(
      '--filter <filter>',
      'Part of a name (signed_up), or field=value (user_id=42, properties.plan=pro).',
    )
    .option('--json', 'Each event as it is archived, a line each.')
    .addHelpText(
      'after',
      `
Shows up to 1,000 events a second, and says how many were left out. A server on another machine has to
have a UI_TOKEN, which is read from the environment, or .env, here too. Exit code: 0 where Ctrl-C ends it,
1 where the server cannot be reached, refuses, or goes.`,
    )
    .action(async (flags: TailFlags) => {
      loadDotEnv()
      // Only here, so that the other commands do without.
      const { tail } = await import('../src/cli/tail.ts')
      process.exitCode = await tail(flags, process.env, stopSignal())
    })
}

/** Aborted by SIGINT or SIGTERM, or when nobody reads what is written any more. */
function stopSignal(): AbortSignal {
  const stopping = new AbortController()
  const stop = (): void => stopping.abort()
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  process.stdout.once('error', stop)
  return stopping.signal
}
