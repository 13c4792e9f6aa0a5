/** Spans of time in milliseconds since 1970, both ends included. Sorted, and without overlaps. */
export type Spans = readonly (readonly [first: number, last: number])[]

/** With more spans than this, the smallest gaps are closed. */
const SPANS_MAX = 64
/** Spans with a gap of at most this time become one. */
const JOINED_MS = 60_000

/** Joins two lists of spans. The result covers all of both, and has at most 64 spans: the smallest gaps are closed. */
export function joinSpans(a: Spans, b: Spans): Spans {
  const joined: [number, number][] = []
  for (const [first, last] of [...a, ...b].toSorted((x, y) => x[0] - y[0])) {
    const before = joined.at(-1)
    if (before !== undefined && first <= before[1] + JOINED_MS) before[1] = Math.max(before[1], last)
    else joined.push([first, last])
  }
  while (joined.length > SPANS_MAX) closeSmallestGap(joined)
  return joined
}

/** Whether one of the times is from `first` to `last`, both included. @param times ascending */
export function hasTimeIn(times: ArrayLike<number>, first: number, last: number): boolean {
  let low = 0
  let high = times.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((times[middle] as number) < first) low = middle + 1
    else high = middle
  }
  return low < times.length && (times[low] as number) <= last
}

export function inSpans(spans: Spans, at: number): boolean {
  return spans.some(([first, last]) => first <= at && at <= last)
}

function closeSmallestGap(spans: [number, number][]): void {
  let smallest = 1
  for (let n = 2; n < spans.length; n++) if (gapBefore(spans, n) < gapBefore(spans, smallest)) smallest = n
  const [, last] = spans[smallest] as [number, number]
  ;(spans[smallest - 1] as [number, number])[1] = last
  spans.splice(smallest, 1)
}

function gapBefore(spans: readonly [number, number][], n: number): number {
  return (spans[n] as [number, number])[0] - (spans[n - 1] as [number, number])[1]
}
