import type { Command } from 'commander'
import { statusSettings, tokenSettings } from '../src/cli/own-settings.ts'
import type { TailFlags } from '../src/cli/tail.ts'
import { outputClosed } from './closed-output.ts'
import { addSettings, loadDotEnv } from './settings.ts'

export function addTail(program: Command): void {
  const command = program
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
Host, port and token are those of the server that is asked; they and .env are read as by serve. A server on another
machine has to have a UI_TOKEN. Shows up to 1,000 events a second, and says how many were left out.
Exit code: 0 where Ctrl-C ends it, 1 where the server cannot be reached, refuses, or goes, 141 where its output is
closed.`,
    )
    .action(async (flags: TailFlags) => {
      loadDotEnv()
      // Only here, so that the other commands do without.
      const { tail } = await import('../src/cli/tail.ts')
      const closed = outputClosed()
      const exitCode = await tail(flags, process.env, AbortSignal.any([stopSignal(), closed]))
      if (!closed.aborted) process.exitCode = exitCode
    })
  addSettings(command, [...statusSettings, ...tokenSettings])
}

/** Aborted by SIGINT or SIGTERM. */
function stopSignal(): AbortSignal {
  const stopping = new AbortController()
  const stop = (): void => stopping.abort()
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  return stopping.signal
}
