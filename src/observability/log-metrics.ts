import type { LogStatus } from '../log/log-totals.ts'
import type { Exposition } from './exposition.ts'

/** @param status undefined while the log was not open yet */
export function addLogMetrics(exposition: Exposition, status: () => LogStatus | undefined): void {
  exposition.counter(
    { name: 'frequency_log_commits_total', help: 'Records that this process has appended to the log.' },
    show => show(status()?.commits ?? 0),
  )
  exposition.counter(
    {
      name: 'frequency_log_conflicts_total',
      help: 'Records of other archivers that had the number which this process tried for.',
    },
    show => show(status()?.conflicts ?? 0),
  )
  exposition.gauge(
    {
      name: 'frequency_log_position',
      help: 'The last record of the log that is known here.',
      aggregator: 'max',
    },
    show => show(status()?.position ?? 0),
  )
  exposition.gauge(
    { name: 'frequency_log_watermark', help: 'The last record that is folded.', aggregator: 'max' },
    show => show(status()?.watermark ?? 0),
  )
  exposition.gauge(
    {
      name: 'frequency_log_unsettled_records',
      help: 'Records not all of whose objects are known to be there.',
      aggregator: 'max',
    },
    show => show(status()?.unsettled.records ?? 0),
  )
  exposition.gauge(
    {
      name: 'frequency_log_last_commit_timestamp_seconds',
      help: 'When this process last appended a record, in seconds since 1970; absent where it has not yet.',
      aggregator: 'max',
    },
    show => {
      const at = status()?.lastCommitAt
      if (at !== undefined) show(at / 1000)
    },
  )
}
