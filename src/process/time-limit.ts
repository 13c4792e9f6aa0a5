/**
 * Settles like `work`, or like `late()` if `work` takes longer than `ms` milliseconds. `work` itself goes on: a
 * rejection that comes after the limit is ignored.
 */
export async function withTimeLimit<T, L>(work: Promise<T>, ms: number, late: () => L): Promise<T | L> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<void>(resolve => {
    timer = setTimeout(resolve, ms)
  }).then(late)
  try {
    return await Promise.race([work, limit])
  } finally {
    clearTimeout(timer)
  }
}
