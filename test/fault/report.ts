/** The result of a run as a Markdown table. */
import type { InjectionCounts, Outcome, RunOptions } from './run.ts'

const FINDINGS_SHOWN_MAX = 40

type Row = readonly [string, string | number]

/** @param revision commit of the tested build (revision.ts) */
export function report(options: RunOptions, outcome: Outcome, revision: string): string {
  const { findings } = outcome
  const rows: Row[] = [
    ['commit', revision],
    ...settings(options, outcome),
    ...sent(outcome),
    ...[...outcome.injections].sort(([a], [b]) => (a < b ? -1 : 1)).map(injectionsRow),
    ...storm(outcome),
    ...archived(outcome),
  ]
  const shown = findings.slice(0, FINDINGS_SHOWN_MAX)
  if (findings.length > shown.length) shown.push(`… and ${findings.length - shown.length} more`)
  return [...table(rows), ...(shown.length > 0 ? ['', ...shown] : [])].join('\n')
}

function settings(options: RunOptions, { brokerVersion, seconds }: Outcome): Row[] {
  const { kind, seed, ingests, archivers, window, env, rounds } = options
  const own = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  return [
    ['seed', seed],
    ['broker', `${kind}, RabbitMQ ${brokerVersion}`],
    ['ingests, archivers', `${ingests}, ${archivers}`],
    ...(window === undefined ? [] : [['dedupe window', `${window} ms`] as const]),
    ...(own.length === 0 ? [] : [['settings of all', own.join(' ')] as const]),
    ['rounds', rounds],
    ['duration', `${seconds} s`],
  ]
}

function sent({ ledger }: Outcome): Row[] {
  return [
    ['events sent', ledger.size],
    ['… of other programs', ledger.foreign],
    ['… with the id of an event of another source', ledger.idPairs],
    ['acknowledged', ledger.acknowledged],
    ['… by a spool', ledger.acknowledgedByDisk],
    ['answers other than 200, or none', ledger.refused],
    ['… then retried', ledger.retried],
    ['repeated after a 200', ledger.repeated],
    ['messages that are not JSON', ledger.junk],
  ]
}

function injectionsRow([name, { done, missed }]: [string, InjectionCounts]): Row {
  return [name, missed === 0 ? done : `${done} (and ${missed} without effect)`]
}

function storm({ storm }: Outcome): Row[] {
  if (storm === undefined) return []
  const { calm, storm: stormy, shares } = storm
  return [
    ['events per second from a backlog', Math.round(calm)],
    [
      '… with one event in ten twice',
      `${Math.round(stormy)} (${(stormy / Math.max(1, calm)).toFixed(2)} of that)`,
    ],
    ['… by archiver, in each backlog', shares.map(share => [...share.values()].join(' + ')).join(', ')],
  ]
}

function archived({ verdict, drainSeconds, findings }: Outcome): Row[] {
  const { objects, missing, duplicates, unreadable } = verdict
  const kinds = [...objects].map(([ending, count]) => `${count} ${ending}`)
  return [
    ['time to archive all events after the load', `${drainSeconds} s`],
    ['objects', kinds.sort().join(', ')],
    ['… above 1 MiB, above 5 MiB', `${verdict.largeObjects}, ${verdict.partsObjects}`],
    ['events archived', verdict.archived],
    ['… again, because their object was damaged', verdict.archivedAgain],
    ['… again, of other programs, without an id', verdict.duplicatesWithoutId],
    ['**lost**', `**${missing.length}**`],
    ['**duplicated**', `**${duplicates.length}**`],
    ['stuck', findings.filter(each => each.startsWith('stuck')).length],
    ['unreadable objects', unreadable.length],
    ['other findings', findings.length - missing.length - duplicates.length - unreadable.length],
  ]
}

function table(rows: readonly Row[]): string[] {
  const width = Math.max(...rows.map(([name]) => name.length))
  const lines = rows.map(([name, value]) => `| ${name.padEnd(width)} | ${value} |`)
  return [`| ${''.padEnd(width)} | |`, `|${'-'.repeat(width + 2)}|---|`, ...lines]
}
