import { type Command, Option } from 'commander'
import { replaySettings } from '../src/cli/own-settings.ts'
import type { ReplayFlags } from '../src/cli/replay/options.ts'
import { EXIT_CLOSED_OUTPUT, outputClosed } from './closed-output.ts'
import { addSettings, loadDotEnv } from './settings.ts'

/** `frequency replay`. */
export function addReplay(program: Command): void {
  const command = program
    .command('replay')
    .description('Send events of the archive again: to a URL, to the queue, or to a file.')
    .option(
      '--to <target>',
      'A URL with a path (/api/t/batch, /v1/batch, or of a webhook), or queue: that of AMQP_URL or DATA_DIR.',
    )
    .option('--output <path>', 'A file, one event a line. - is standard output.')
    .option('--since <time>', 'Events received since: 30m, 24h or 7d ago, 2026-11-24, or 2026-11-24T13:05Z.')
    .option('--until <time>', 'Events received before this time.')
    .option('--where <condition>', 'A condition in SQL on the columns of events (see query).')
    .option(
      '--batch-events <count>',
      'Events in a request. Default: 1, or 1,000 for /api/t/batch and /v1/batch.',
    )
    .addOption(
      new Option('--body <form>', 'How several events are sent to a URL of others.').choices([
        'json',
        'ndjson',
      ]),
    )
    .option('--write-key <key>', 'A write key for the URL. Default: the variable REPLAY_WRITE_KEY.')
    .option(
      '--header <header>',
      'A header, "Name: value", or @FILE with such lines. May be given again.',
      collect,
    )
    .option('--rate <events>', 'Events a second at most.')
    .option('--concurrency <count>', 'Requests on their way together. Default: 1, which keeps the order.')
    .option('--timeout <time>', 'Limit of one request. Default: 30s.')
    .option('--give-up-after <time>', 'How long a request is tried again. Default: 10m.')
    .option(
      '--skip-refused <path>',
      'A file for events that the target refuses. Without it the first one ends the run.',
    )
    .option(
      '--checkpoint <path>',
      'The file that keeps how far the replay is. Default: one in DATA_DIR/replay.',
    )
    .option('--restart', 'Begin again, whatever the checkpoint says.')
    .option('--dry-run', 'Say what would be sent, and send nothing.')
    .option('--no-progress', 'Show no progress on the terminal.')
    .addHelpText(
      'after',
      `
  frequency replay --to=http://127.0.0.1:4000/api/t/batch --since=24h
  frequency replay --to=https://example.com/hook --where="event = 'signed_up'" --rate=50
  frequency replay --output=events.ndjson

The same command goes on where it was stopped. Exit code: 0 if all was sent, 1 if it failed or was refused, 2 if an
option or a setting is wrong or the archive could not be read, 130 after Ctrl-C.`,
    )
    .action(async (flags: ReplayFlags) => {
      loadDotEnv()
      // Only here, so that the other commands do without.
      const { replay } = await import('../src/cli/replay.ts')
      const closed = outputClosed()
      const code = await replay(flags, process.env, closed)
      process.exitCode = closed.aborted ? EXIT_CLOSED_OUTPUT : code
    })
  addSettings(command, replaySettings)
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value]
}
