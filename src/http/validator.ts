/** An assertion that throws, as a validator of Fastify's, which gives the error back. */
export function validatorOf<T>(assert: (value: unknown) => asserts value is T) {
  return (value: unknown): { value: T } | { error: Error } => {
    try {
      assert(value)
      return { value }
    } catch (error) {
      return { error: error as Error }
    }
  }
}
