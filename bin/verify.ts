import { type Command, InvalidArgumentError } from 'commander'
import { archiveSettings } from '../src/cli/own-settings.ts'
import type { VerifyFlags } from '../src/cli/verify.ts'
import { addSettings, loadDotEnv } from './settings.ts'

const LIST_MAX_MAX = 100_000

/** `frequency verify`. */
export function addVerify(program: Command): void {
  const command = program
    .command('verify')
    .description(
      'Read an archive, and report what is duplicate, unreadable or missing, and where objects and log differ.',
    )
    .argument('[archive-url]', 'The archive: s3://bucket/prefix, or a directory. Default: ARCHIVE_URL.')
    .option(
      '--ids <file>',
      'A file with one messageId per line. Each must be in the archive, from any source.',
    )
    .option('--from <hour>', 'First partition in UTC: 2026-11-24 or 2026-11-24T13.', text =>
      parseHour(text, '00'),
    )
    .option('--to <hour>', 'Last partition. A day means its last hour.', text => parseHour(text, '23'))
    .option('--list <count>', 'How many findings of each kind to list. All are counted.', parseListMax, 20)
    .option('--json', 'Report as JSON.')
    .option('--no-progress', 'Show no progress on the terminal.')
    .addHelpText(
      'after',
      `
It only reads, and can run beside a server. It reads AWS settings and .env like serve.
Exit code: 0 if nothing is wrong, 1 if something is wrong, 2 if the archive could not be read, or not all of it.
A batch is in the partition of its first event, so some events of an hour may be in the hour before.
Large archives need temporary space (TMPDIR): 22 bytes per event.`,
    )
    .action(async (archiveUrl: string | undefined, flags: VerifyFlags) => {
      loadDotEnv()
      // Imported here, so that the other commands do not load it.
      const { verify } = await import('../src/cli/verify.ts')
      process.exitCode = await verify(archiveUrl, flags, process.env)
    })
  addSettings(
    command,
    archiveSettings.filter(({ name }) => name !== 'archiveUrl'),
  )
}

/**
 * Reads a day, an hour or a full time in UTC.
 *
 * @param hourOfDay the hour for a text without one
 * @returns the hour of a partition: `2026-11-24T13`
 * @throws InvalidArgumentError if the text is not a date
 */
function parseHour(text: string, hourOfDay: '00' | '23'): string {
  const [, day, hour = hourOfDay] =
    /^(\d{4}-\d{2}-\d{2})(?:T(\d{2})(?::?\d{2}(?::?\d{2}(?:\.\d+)?)?)?Z?)?$/i.exec(text) ?? []
  const at = new Date(`${day}T${hour}:00:00Z`)
  if (Number.isNaN(at.getTime()) || !at.toISOString().startsWith(`${day}T${hour}`))
    throw new InvalidArgumentError('It must be a day or an hour in UTC, like 2026-11-24 or 2026-11-24T13.')
  return `${day}T${hour}`
}

function parseListMax(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 0 || count > LIST_MAX_MAX)
    throw new InvalidArgumentError(`It must be a whole number from 0 to ${LIST_MAX_MAX}.`)
  return count
}
