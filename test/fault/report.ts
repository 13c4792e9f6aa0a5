/** The table of a run, in Markdown. */
import type { Outcome, RunOptions, Strikes } from './run.ts'

const FINDINGS_SHOWN_MAX = 40

type Row = readonly [string, string | number]

/** @param revision what was run (revision.ts) */
export function report(options: RunOptions, outcome: Outcome, revision: string): string {
  const { findings } = outcome
  const rows: Row[] = [
    ['commit', revision],
    ...settings(options, outcome),
    ...sent(outcome),
    ...[...outcome.strikes].sort(([a], [b]) => (a < b ? -1 : 1)).map(strikesRow),
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
    ['… of them by other programs', ledger.foreign],
    ['… with the id of an event of another source', ledger.twins],
    ['acknowledged', ledger.acknowledged],
    ['… of them by a spool', ledger.acknowledgedByDisk],
    ['answers other than 200, or none', ledger.refused],
    ['sent again after that', ledger.retried],
    ['sent again although acknowledged', ledger.repeated],
    ['messages that are no JSON', ledger.junk],
  ]
}

function strikesRow([name, { struck, missed }]: [string, Strikes]): Row {
  return [name, missed === 0 ? struck : `${struck} (and ${missed} without effect)`]
}

function storm({ storm }: Outcome): Row[] {
  if (storm === undefined) return []
  const { calm, storm: stormy, shares } = storm
  return [
    ['events a second from a backlog', Math.round(calm)],
    [
      '… one in ten of them twice',
      `${Math.round(stormy)} (${(stormy / Math.max(1, calm)).toFixed(2)} of that)`,
    ],
    ['… by archiver, in each backlog', shares.map(share => [...share.values()].join(' + ')).join(', ')],
  ]
}

function archived({ verdict, drainSeconds, findings }: Outcome): Row[] {
  const { objects, missing, doubled, unreadable } = verdict
  const kinds = [...objects].map(([ending, count]) => `${count} ${ending}`)
  return [
    ['until all was archived, after the load', `${drainSeconds} s`],
    ['objects', kinds.sort().join(', ')],
    ['… larger than 1 MiB, than 5 MiB', `${verdict.largeObjects}, ${verdict.partsObjects}`],
    ['events archived', verdict.archived],
    ['… again, because their object was damaged', verdict.archivedAgain],
    ["… again, of other programs' without an id", verdict.doubledWithoutId],
    ['**lost**', `**${missing.length}**`],
    ['**doubled**', `**${doubled.length}**`],
    ['stuck', findings.filter(each => each.startsWith('stuck')).length],
    ['unreadable objects', unreadable.length],
    ['other findings', findings.length - missing.length - doubled.length - unreadable.length],
  ]
}

function table(rows: readonly Row[]): string[] {
  const width = Math.max(...rows.map(([name]) => name.length))
  const lines = rows.map(([name, value]) => `| ${name.padEnd(width)} | ${value} |`)
  return [`| ${''.padEnd(width)} | |`, `|${'-'.repeat(width + 2)}|---|`, ...lines]
}
