import { type Command, Option } from 'commander'
import { querySettings } from '../src/cli/own-settings.ts'
import type { QueryFlags } from '../src/cli/query.ts'
import { ENGINE_COMMAND } from '../src/query/engine-messages.ts'
import { EXIT_CLOSED_OUTPUT, outputClosed } from './closed-output.ts'
import { addSettings, loadDotEnv } from './settings.ts'

/** `frequency query`, and the hidden command that is its engine. */
export function addQuery(program: Command): void {
  const command = program
    .command('query')
    .description(
      'Ask the archive in SQL. The view events has each archived event once, up to the last batch.',
    )
    .argument(
      '[sql]',
      'A SELECT, in the SQL of DuckDB. Without it, or for -, it is read from standard input.',
    )
    .option('--file <path>', 'A file with the SQL.')
    .option('--shell', 'Ask for statements at a prompt, with a history.')
    .option('--since <time>', 'Events received since: 30m, 24h or 7d ago, 2026-11-24, or 2026-11-24T13:05Z.')
    .option('--until <time>', 'Events received before this time.')
    .addOption(
      new Option('--format <format>', 'How the answer is written.')
        .choices(['table', 'csv', 'json', 'ndjson', 'parquet'])
        .default('table'),
    )
    .option('--output <path>', 'A file for the answer, with every --format but table.')
    .option('--no-progress', 'Show no progress on the terminal.')
    .addHelpText(
      'after',
      `
Columns of events: message_id, event, type, user_id, anonymous_id, timestamp, received_at, source, channel,
properties, context, traits and extra (all other members) as JSON, and raw: the event as it was sent, if the
other columns do not say all of it.

  frequency query "select event, count(*) from events group by 1 order by 2 desc" --since=24h
  frequency query "select properties->>'plan' as plan, count(*) from events group by 1"

It only reads, and can run beside a server. Exit code: 0 if the answer is complete, 1 if the query failed,
2 if an option or a setting is wrong or the archive could not be read, 130 after Ctrl-C.`,
    )
    .action(async (sql: string | undefined, flags: QueryFlags) => {
      loadDotEnv()
      // Only here, so that the other commands do without.
      const { query } = await import('../src/cli/query.ts')
      const closed = outputClosed()
      const code = await query(sql, flags, process.env, closed)
      process.exitCode = closed.aborted ? EXIT_CLOSED_OUTPUT : code
    })
  addSettings(command, querySettings)
  program.command(ENGINE_COMMAND, { hidden: true }).action(async () => {
    const { serveEngine } = await import('../src/query/engine-process.ts')
    serveEngine()
  })
}
