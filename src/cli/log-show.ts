import type { Config } from '../config/config.ts'
import { type LogView, LogViewer, type ViewedRecord } from '../log/log-view.ts'
import { openStoreReader } from '../store/open-store.ts'
import { EXIT_CODES } from './exit-codes.ts'
import type { LogFlags, Outcome } from './log.ts'
import { grouped, many } from './verify/report.ts'

const COUNT = 20
/** Enough of a writer's id to tell writers apart. */
const WRITER_CHARACTERS = 8

/** `frequency log show`. The exit code is 1 if a record is damaged or missing. */
export async function show(config: Config, { from, count = COUNT }: LogFlags): Promise<Outcome> {
  const store = await openStoreReader(config)
  try {
    const view = await new LogViewer(store, { prefix: config.archive.prefix, from, count }).view()
    const isDamaged = view.hint > view.position || view.records.some(({ damaged }) => damaged !== undefined)
    return {
      code: isDamaged ? EXIT_CODES.failed : EXIT_CODES.done,
      report: { archive: store.description, ...view },
      text: inWords(store.description, view),
    }
  } finally {
    await store.close()
  }
}

function inWords(archive: string, view: LogView): string {
  const { id, position, watermark, manifests, folded, hint, writers, records } = view
  const missing =
    hint > position ? [`RECORDS ARE MISSING AT THE END: the log once had record ${grouped(hint)}.`] : []
  const blocks = [
    [
      `Archive: ${archive}`,
      `Log: ${id}`,
      `Last record: ${grouped(position)}`,
      `Watermark: ${grouped(watermark)} (${many(manifests, 'manifest')}, with ${many(folded.objects, 'object')} and ${many(folded.events, 'event')})`,
      ...missing,
    ],
    table(records),
    writers.length === 0 ? [] : ['Writers of these records, the latest first:', ...writers.map(writerLine)],
  ]
  return `${blocks
    .filter(lines => lines.length > 0)
    .map(lines => lines.join('\n'))
    .join('\n\n')}\n`
}

function table(records: readonly ViewedRecord[]): string[] {
  if (records.length === 0) return ['No record in this range.']
  const rows = [['record', 'stored', 'writer', 'batches', 'events', 'bytes', ''], ...records.map(rowOf)]
  const widths = (rows[0] as string[]).map((_, n) => Math.max(...rows.map(row => (row[n] as string).length)))
  return rows.map(row =>
    row
      .map((text, n) =>
        n === 1 || n === 2 || n === 6 ? text.padEnd(widths[n] as number) : text.padStart(widths[n] as number),
      )
      .join('  ')
      .trimEnd(),
  )
}

function rowOf(record: ViewedRecord): string[] {
  const { number, storedAt = '', writer = '', batches, events, bytes, damaged } = record
  return [
    grouped(number),
    storedAt,
    writer.slice(0, WRITER_CHARACTERS),
    ...(damaged === undefined ? [batches, events, bytes].map(grouped) : ['', '', '']),
    remarkOf(record),
  ]
}

function remarkOf(record: ViewedRecord): string {
  const { number, damaged, isFolded, isRepaired, voids, rewrites, expiredBefore } = record
  if (damaged !== undefined) return `DAMAGED: ${damaged}`
  const remarks: string[] = []
  if (number === 0) remarks.push('begins the log')
  if (isFolded) remarks.push('folded')
  if (isRepaired) remarks.push('repaired')
  if (voids !== undefined) remarks.push(`voids batches of earlier records: ${grouped(voids)}`)
  if (rewrites !== undefined) remarks.push(`rewrites objects of earlier records: ${grouped(rewrites)}`)
  if (expiredBefore !== undefined) remarks.push(`expires days before ${expiredBefore.slice(0, 10)}`)
  return remarks.join(', ')
}

function writerLine({ writer, records, events }: LogView['writers'][number]): string {
  return `  ${writer}  ${many(records, 'record')}, ${many(events, 'event')}`
}
