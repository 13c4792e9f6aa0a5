import type { Command } from 'commander'
import { statusSettings, tokenSettings } from '../src/cli/own-settings.ts'
import type { TailFlags } from '../src/cli/tail.ts'
import { outputClosed } from './closed-output.ts'
import { addSettings, loadDotEnv } from './settings.ts'

/** `frequency tail`. */
export function addTail(program: Command): void {
  const command = program
    .command('tail')
    .description('Show events as a running server takes them. The archive is not changed.')
    .option('--url <url>', 'The server. Default: the one at ADMIN_HOST:ADMIN_PORT, or at HOST:PORT.')
    .option(
      '--filter <filter>',
      'Show only events with this part of a name (signed_up), or this field=value (user_id=42, properties.plan=pro).',
    )
    .option('--json', 'Print each event on one line, as it is archived.')
    .addHelpText(
      'after',
      `
Host, port and token are settings of the server. This command reads them, and .env, like serve. A server on another
machine must have a UI_TOKEN. At most 1,000 events per second are shown. A note says how many were left out.
Exit code: 0 after Ctrl-C, 2 if the server cannot be reached, refuses or closes the connection, 141 if the output is
closed.`,
    )
    .action(async (flags: TailFlags) => {
      loadDotEnv()
      // Imported here, so that the other commands do not load it.
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
