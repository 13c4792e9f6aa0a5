/** The table of a run, in Markdown. */
import type { Outcome, RunOptions } from './run.ts'

const FINDINGS_SHOWN_MAX = 40

export function report(options: RunOptions, outcome: Outcome): string {
  const { ledger, verdict, struck, findings, seconds } = outcome
  const rows: [string, string | number][] = [
    ['seed', options.seed],
    ['RabbitMQ nodes, ingests, archivers', `${options.brokers}, ${options.ingests}, ${options.archivers}`],
    ['compression', options.compression],
    ['rounds', options.rounds],
    ['duration', `${seconds} s`],
    ['events sent', ledger.size],
    ['acknowledged', ledger.acknowledged],
    ['… of them by a spool', ledger.acknowledgedByDisk],
    ['answers other than 200, or none', ledger.refused],
    ['sent again after that', ledger.retried],
    ['sent again although acknowledged', ledger.repeated],
    ...[...struck].sort(([a], [b]) => (a < b ? -1 : 1)),
    ['objects', verdict.objects],
    ['… of them larger than 5 MiB', verdict.largeObjects],
    ['events archived', verdict.archived],
    ['**lost**', `**${verdict.missing.length}**`],
    ['**doubled**', `**${verdict.doubled.length}**`],
    ['unreadable objects', verdict.unreadable.length],
    [
      'other findings',
      findings.length - verdict.missing.length - verdict.doubled.length - verdict.unreadable.length,
    ],
  ]
  const shown = findings.slice(0, FINDINGS_SHOWN_MAX)
  if (findings.length > shown.length) shown.push(`… and ${findings.length - shown.length} more`)
  return [...table(rows), ...(shown.length > 0 ? ['', ...shown] : [])].join('\n')
}

function table(rows: readonly (readonly [string, string | number])[]): string[] {
  const width = Math.max(...rows.map(([name]) => name.length))
  const lines = rows.map(([name, value]) => `| ${name.padEnd(width)} | ${value} |`)
  return [`| ${''.padEnd(width)} | |`, `|${'-'.repeat(width + 2)}|---|`, ...lines]
}
