/** A person who watches a start wonders after this time. */
const NOTICE_MS = 1_000

/** Calls `say` once if the work takes longer than a second, and gives what the work gives. */
export async function withSlowNotice<T>(work: Promise<T>, say: () => void): Promise<T> {
  const timer = setTimeout(say, NOTICE_MS)
  try {
    return await work
  } finally {
    clearTimeout(timer)
  }
}
