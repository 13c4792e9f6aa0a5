import type { Duplicate } from './id-comparison.ts'
import type { LogFindings, NamedObject } from './log-check.ts'
import type { TableFindings } from './table-check.ts'
import type { ObjectProblems, VerifyFindings } from './verifier.ts'

/** The report of `frequency verify`, as `--json` prints it. */
export interface VerifyReport extends VerifyFindings {
  /** The description of the archive's store. */
  readonly archive: string
  readonly from?: string
  readonly to?: string
  /**
   * - clean: nothing is wrong.
   * - findings: there are duplicates, unreadable objects or missing ids, or the objects and the log do not agree.
   * - incomplete: objects could not be fetched, so their content is unknown. There may be findings too.
   */
  readonly result: 'clean' | 'findings' | 'incomplete'
  readonly seconds: number
}

export function resultOf(findings: VerifyFindings): VerifyReport['result'] {
  const { unfetched, duplicates, unreadable, missing, log, table: files } = findings
  if (unfetched.objects > 0) return 'incomplete'
  const problems = duplicates.events + unreadable.objects + (missing?.ids ?? 0)
  return problems > 0 || (log !== null && isWrong(log)) || (files !== null && isWrongTable(files))
    ? 'findings'
    : 'clean'
}

function isWrong({ missing, unerased, changed, unknown, damaged, refused }: LogFindings): boolean {
  const objects = missing.objects + unerased.left + changed.objects + unknown.objects
  return refused !== undefined || objects + damaged.records > 0
}

function isWrongTable({ missing, unknown, refused }: TableFindings): boolean {
  return refused !== undefined || missing.files + unknown.files > 0
}

/** The report as text, for a person. */
export function inWords(report: VerifyReport): string {
  const blocks = [
    [`Archive: ${report.archive}`, ...logLine(report), ...rangeOf(report), `Read in ${report.seconds} s.`],
    table(rowsOf(report)),
    listed('Duplicates', report.duplicates.ids, report.duplicates.list.map(describeDuplicate)),
    listed('Unreadable', report.unreadable.objects, report.unreadable.list.map(describeProblems)),
    listed('Not fetched', report.unfetched.objects, report.unfetched.list.map(describeProblems)),
    listed('Missing', report.missing?.ids ?? 0, report.missing?.list ?? []),
    ...(report.log === null ? [] : blocksOf(logKinds(report.log))),
    ...(report.table === null ? [] : tableBlocks(report.table)),
    [verdictOf(report)],
  ]
  return `${blocks
    .filter(lines => lines.length > 0)
    .map(lines => lines.join('\n'))
    .join('\n\n')}\n`
}

type Row = readonly [name: string, count: number, remark: string]

function rowsOf(report: VerifyReport): Row[] {
  const { duplicates, unreadable, unfetched, missing } = report
  const rows: Row[] = [
    ['Objects', report.objects, ''],
    ['Events', report.events, `${grouped(report.ids)} different ids`],
    ['Duplicates', duplicates.events, duplicates.ids > 0 ? `of ${many(duplicates.ids, 'id')}` : ''],
    ['Unreadable objects', unreadable.objects, badLinesOf(unreadable)],
  ]
  if (unfetched.objects > 0)
    rows.push(['Objects not fetched', unfetched.objects, 'the store did not give them'])
  if (missing !== undefined)
    rows.push(['Missing ids', missing.ids, `of ${grouped(missing.asked)} that must be there`])
  rows.push(...logRows(report.log), ...tableRows(report.table))
  if (report.otherObjects > 0)
    rows.push(['Other objects', report.otherObjects, 'not written by frequency, not read'])
  return rows
}

function logLine({ log }: VerifyReport): string[] {
  if (log === null)
    return ['Log: none. It was not compared with the objects: see "frequency log build --help".']
  const { id = 'unknown', position, refused } = log
  return [
    `Log: ${id}, up to record ${grouped(position)}.`,
    ...(refused === undefined ? [] : [`It could not be compared with the objects: ${refused}`]),
  ]
}

/** One kind of what is wrong, or may be: a row of the table, and a list. */
interface Kind {
  readonly title: string
  readonly count: number
  readonly remark: string
  readonly list: readonly string[]
}

function logKinds({ missing, unsettled, unerased, changed, unknown, damaged }: LogFindings): Kind[] {
  const named = ({ key, record }: NamedObject): string => `${key}  (record ${grouped(record)})`
  return [
    {
      title: 'Missing objects',
      count: missing.objects,
      remark: 'named by the log, not in the store',
      list: missing.list.map(named),
    },
    {
      title: 'Not yet settled',
      count: unsettled.objects,
      remark: `their bytes are in the log, or staged${leftOf(unsettled.left, 'does an archiver run?')}`,
      list: unsettled.list.map(named),
    },
    {
      title: 'Not yet erased',
      count: unerased.objects,
      remark: `an erasure runs, or was interrupted${leftOf(unerased.left, 'if none runs, run "frequency erase" again')}`,
      list: unerased.list,
    },
    {
      title: 'Changed objects',
      count: changed.objects,
      remark: 'other bytes than the log names',
      list: changed.list,
    },
    {
      title: 'Unknown objects',
      count: unknown.objects,
      remark: 'the log does not name them',
      list: unknown.list,
    },
    {
      title: 'Damaged records',
      count: damaged.records,
      remark: 'archivers stop there',
      list: damaged.list,
    },
  ]
}

function tableKinds({ missing, unknown }: TableFindings): Kind[] {
  return [
    {
      title: 'Missing files',
      count: missing.files,
      remark: 'gone, or of another length',
      list: missing.list,
    },
    {
      title: 'Unknown files',
      count: unknown.files,
      remark: 'a glob counts them, and the table does not',
      list: unknown.list,
    },
  ]
}

function leftOf(count: number, advice: string): string {
  return count === 0 ? '' : `; ${grouped(count)} for more than 5 minutes: ${advice}`
}

function rowsOfKinds(kinds: readonly Kind[]): Row[] {
  return kinds.filter(({ count }) => count > 0).map(({ title, count, remark }) => [title, count, remark])
}

function blocksOf(kinds: readonly Kind[]): string[][] {
  return kinds.map(({ title, count, list }) => listed(title, count, list))
}

function logRows(log: LogFindings | null): Row[] {
  return log === null ? [] : [['Named by the log', log.objects, ''], ...rowsOfKinds(logKinds(log))]
}

function tableRows(files: TableFindings | null): Row[] {
  if (files === null) return []
  return [['Files of the table', files.files, many(files.events, 'event')], ...rowsOfKinds(tableKinds(files))]
}

function tableBlocks(files: TableFindings): string[][] {
  const { refused } = files
  const refusal = refused === undefined ? [] : [`The table could not be compared with its log: ${refused}`]
  return [refusal, ...blocksOf(tableKinds(files))]
}

function badLinesOf({ notJson, withoutMessageId, withoutReceivedAt }: VerifyReport['unreadable']): string {
  const parts: string[] = []
  if (notJson > 0) parts.push(`${many(notJson, 'line')} without a JSON object`)
  if (withoutMessageId > 0) parts.push(`${many(withoutMessageId, 'event')} without messageId`)
  if (withoutReceivedAt > 0) parts.push(`${many(withoutReceivedAt, 'event')} without receivedAt`)
  return parts.length > 0 ? `in them: ${parts.join(', ')}` : ''
}

function table(rows: readonly Row[]): string[] {
  const nameWidth = Math.max(...rows.map(([name]) => name.length))
  const countWidth = Math.max(...rows.map(([, count]) => grouped(count).length))
  return rows.map(([name, count, remark]) =>
    `  ${name.padEnd(nameWidth)}  ${grouped(count).padStart(countWidth)}  ${remark}`.trimEnd(),
  )
}

/**
 * The lines of a list: its title, its items, and how many more of `count` there are. Empty if `count` is 0.
 *
 * @param items a line, or several, of each
 */
export function listed(
  title: string,
  count: number,
  items: readonly (string | readonly string[])[],
): string[] {
  if (count === 0) return []
  const left = count - items.length
  return [
    `${title}:`,
    ...items.flatMap(item => {
      const [first, ...more] = [item].flat()
      return [`  ${first}`, ...more.map(line => `    ${line}`)]
    }),
    ...(left > 0 ? [`  and ${grouped(left)} more (see --list)`] : []),
  ]
}

export function describeDuplicate({ messageId, source, events, objects }: Duplicate): string[] {
  const known = objects.reduce((sum, object) => sum + object.events, 0)
  return [
    `${messageId}${source === undefined ? '' : ` of source ${source}`}  ${grouped(events)} times`,
    ...objects.map(object => `${grouped(object.events)} × ${object.key}`),
    ...(events > known ? [`${grouped(events - known)} × other objects`] : []),
  ]
}

export function describeProblems({ key, problems }: ObjectProblems): string[] {
  return [key, ...problems]
}

function rangeOf({ from, to }: VerifyReport): string[] {
  if (from === undefined && to === undefined) return []
  const ends = [from && `from ${from}:00`, to && `to ${to}:59`].filter(Boolean)
  return [`Only partitions ${ends.join(' ')} UTC.`]
}

function verdictOf({ result, objects, unfetched }: VerifyReport): string {
  if (result === 'incomplete')
    return `INCOMPLETE: ${many(unfetched.objects, 'object')} could not be fetched. Run this again when the store works.`
  if (result === 'findings') return 'NOT CLEAN: see above.'
  return objects === 0
    ? 'CLEAN, but empty: no objects of frequency were found.'
    : 'CLEAN: every object can be read, and every event is archived once.'
}

/** A number and its noun: `1 record`, `2,000 records`. */
export function many(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`
}

/** A number with commas: `1,234,567`. */
export function grouped(count: number): string {
  return count.toLocaleString('en-US')
}
