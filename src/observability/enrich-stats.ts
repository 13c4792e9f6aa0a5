import { Histogram, LATENCY_BOUNDS_S } from '../process/histogram.ts'

/** What came of an enrich hook for one event. */
export type EnrichOutcome = 'added' | 'unchanged' | 'failed' | 'late'

/** Counts of the enrich hooks, since this process started. */
export class EnrichStats {
  /** Events by outcome. */
  readonly events: Record<EnrichOutcome, number> = { added: 0, unchanged: 0, failed: 0, late: 0 }
  /** Time that the hooks take for all events of a request. */
  readonly seconds = new Histogram(LATENCY_BOUNDS_S)
}
