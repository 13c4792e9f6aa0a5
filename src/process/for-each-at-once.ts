/**
 * Calls `each` for all items, `width` at once. After an error no further item is begun.
 *
 * @throws the first error, when no call is under way any more
 */
export async function forEachAtOnce<T>(
  items: Iterable<T> | AsyncIterable<T>,
  width: number,
  each: (item: T) => Promise<void>,
): Promise<void> {
  const left = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
  let failure: { readonly error: unknown } | undefined
  const run = async (): Promise<void> => {
    while (failure === undefined) {
      try {
        const taken = left.next()
        const next = taken instanceof Promise ? await taken : taken
        if (next.done || failure !== undefined) return
        await each(next.value)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: width }, run))
  if (failure !== undefined) throw (failure as { readonly error: unknown }).error
}
