import { Type } from '@sinclair/typebox'
import { ConfigInvalid } from '../errors.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const YEARS_MAX = 100

const optionalDays = (options: { fallback: string; description: string }) =>
  Type.Optional(
    Type.Integer({
      minimum: 2 * DAY_MS,
      maximum: YEARS_MAX * 365 * DAY_MS,
      unit: 'ms',
      wanted: 'a time of at least 2 days, as 90d, 52w or 2y',
      ...options,
    }),
  )

/** The settings of `frequency expire`. */
export const retentionSettings = {
  retention: optionalDays({
    fallback: 'none: for ever',
    description:
      'How long events stay, as 90d or 2y. Roles that archive remove days that ended longer ago once a day, from objects, log and table.',
  }),
  rawRetention: optionalDays({
    fallback: 'none: as long as RETENTION',
    description:
      'How long objects stay whose events are all in the table, as 30d. The table keeps the events for RETENTION.',
  }),
}

export interface RetentionSettings {
  readonly retention?: number
  readonly rawRetention?: number
  readonly dedupeWindowMs: number
}

/** @throws ConfigInvalid if objects would go while events in them may come again */
export function checkRetention({ retention, rawRetention, dedupeWindowMs }: RetentionSettings): void {
  const least = dedupeWindowMs + DAY_MS
  for (const [variable, ms] of [
    ['RETENTION', retention],
    ['RAW_RETENTION', rawRetention],
  ] as const)
    if (ms !== undefined && ms < least)
      throw new ConfigInvalid(
        `${variable} (${inDays(ms)}) must be at least DEDUPE_WINDOW_MS and a day (${inDays(least)}): known events are looked up in objects.`,
      )
  if (retention !== undefined && rawRetention !== undefined && rawRetention > retention)
    throw new ConfigInvalid(
      `RAW_RETENTION (${inDays(rawRetention)}) must be at most RETENTION (${inDays(retention)}).`,
    )
}

function inDays(ms: number): string {
  return `${Number((ms / DAY_MS).toFixed(2))}d`
}
