/** Makes a Fastify validator, which returns its error, of an assertion, which throws it. */
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
