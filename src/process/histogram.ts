/** Bucket bounds from 1 ms to 30 s. */
export const LATENCY_BOUNDS_S = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const

const KIB = 1024
const MIB = 1024 * KIB
export const OBJECT_BOUNDS_BYTES = [
  KIB,
  4 * KIB,
  16 * KIB,
  64 * KIB,
  256 * KIB,
  MIB,
  4 * MIB,
  16 * MIB,
  64 * MIB,
  256 * MIB,
  1024 * MIB,
] as const

/** Counts values by buckets. One `observe` costs a search in a short array and two additions. */
export class Histogram {
  /** Upper bounds of the buckets, inclusive and ascending. One more bucket has all larger values. */
  readonly bounds: readonly number[]
  /** Values per bucket, not cumulative; the last is the bucket above all bounds. */
  readonly counts: Float64Array
  sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  /** Number of observed values. */
  get count(): number {
    return this.counts.reduce((sum, each) => sum + each, 0)
  }

  observe(value: number): void {
    const { bounds, counts } = this
    let bucket = 0
    while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket++
    counts[bucket] = (counts[bucket] as number) + 1
    this.sum += value
  }
}
