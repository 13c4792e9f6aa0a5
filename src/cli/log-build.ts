import type { Config } from '../config/config.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { type BuiltLog, LogBuilder } from './log/build-log.ts'
import type { LogFlags, Outcome } from './log.ts'
import { withExisting } from './open-existing.ts'
import { ProgressBar } from './verify/progress-bar.ts'
import { describeDuplicate, describeProblems, listed, many } from './verify/report.ts'

const LIST_MAX = 20

/** `frequency log build`. The exit code is 1 if objects are damaged, or ids occur more than once. */
export async function build(
  config: Config,
  { list = LIST_MAX, progress = true }: LogFlags,
): Promise<Outcome> {
  return await withExisting(config, async store => {
    const builder = new LogBuilder(store, { prefix: config.archive.prefix, listMax: list })
    const built = await withProgress(builder, progress && process.stderr.isTTY)
    const isClean = built.damaged.objects + built.duplicates.events === 0
    return {
      code: isClean ? EXIT_CODES.done : EXIT_CODES.failed,
      report: { archive: store.description, ...built },
      text: inWords(store.description, built),
    }
  })
}

async function withProgress(builder: LogBuilder, isShown: boolean): Promise<BuiltLog> {
  if (!isShown) return builder.run()
  const bar = new ProgressBar(process.stderr, builder.progress)
  try {
    return await builder.run()
  } finally {
    bar.stop()
  }
}

function inWords(
  archive: string,
  { id, position, objects, events, abandoned, damaged, duplicates }: BuiltLog,
): string {
  const blocks = [
    [
      `Archive: ${archive}`,
      ...(abandoned > 0 ? [`Deleted ${many(abandoned, 'record')} of an interrupted build.`] : []),
      `Log ${id} is built: ${many(position, 'record')} with ${many(objects, 'object')} and ${many(events, 'event')}.`,
    ],
    listed(
      'Damaged objects, which the log does not name',
      damaged.objects,
      damaged.list.map(describeProblems),
    ),
    listed(
      'Ids that occur more than once; the log names each event',
      duplicates.ids,
      duplicates.list.map(describeDuplicate),
    ),
    [
      damaged.objects + duplicates.events === 0
        ? 'Archivers can start.'
        : 'Archivers can start. NOT CLEAN: see above.',
    ],
  ]
  return `${blocks
    .filter(lines => lines.length > 0)
    .map(lines => lines.join('\n'))
    .join('\n\n')}\n`
}
