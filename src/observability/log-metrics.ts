import type { LogStatus } from '../log/log-totals.ts'
import type { Exposition } from './exposition.ts'

/** Adds the metrics of the archive's log. @param status returns undefined until the log is open */
export function addLogMetrics(exposition: Exposition, status: () => LogStatus | undefined): void {
  exposition.counter(
    { name: 'frequency_log_commits_total', help: 'Records that this process has appended to the log.' },
    show => show(status()?.commits ?? 0),
  )
  exposition.counter(
    {
      name: 'frequency_log_conflicts_total',
      help: 'Attempts of this process to append a record whose number another archiver had already used.',
    },
    show => show(status()?.conflicts ?? 0),
  )
  exposition.gauge(
    {
      name: 'frequency_log_position',
      help: 'Number of the last log record that this process knows.',
      aggregator: 'max',
    },
    show => show(status()?.position ?? 0),
  )
  exposition.gauge(
    { name: 'frequency_log_watermark', help: 'Number of the last folded log record.', aggregator: 'max' },
    show => show(status()?.watermark ?? 0),
  )
  exposition.gauge(
    {
      name: 'frequency_log_unsettled_records',
      help: 'Log records with objects that are not known to be stored yet.',
      aggregator: 'max',
    },
    show => show(status()?.unsettled.records ?? 0),
  )
  exposition.gauge(
    {
      name: 'frequency_log_last_commit_timestamp_seconds',
      help: 'When this process last appended a record, in seconds since 1970. Absent before the first one.',
      aggregator: 'max',
    },
    show => {
      const at = status()?.lastCommitAt
      if (at !== undefined) show(at / 1000)
    },
  )
}
