/**
 * Calls `each` for all items, `width` at once. After an error no further item is begun.
 *
 * @throws the first error, when no call is under way any more
 */
export async function forEachAtOnce<T>(
  items: Iterable<T>,
  width: number,
  each: (item: T) => Promise<void>,
): Promise<void> {
  const left = items[Symbol.iterator]()
  let failure: { readonly error: unknown } | undefined
  const run = async (): Promise<void> => {
    for (let next = left.next(); !next.done && failure === undefined; next = left.next()) {
      try {
        await each(next.value)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: width }, run))
  if (failure !== undefined) throw (failure as { readonly error: unknown }).error
}
