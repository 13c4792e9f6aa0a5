/** Said before what the system says, for codes that tell a person little. */
const WORDS: Record<string, (error: { hostname?: string }) => string> = {
  ECONNREFUSED: () => 'nothing listens there',
  ENOTFOUND: ({ hostname }) => `there is no host ${hostname ?? 'of that name'}`,
  EAI_AGAIN: ({ hostname }) => `the name ${hostname ?? 'of the host'} cannot be looked up now`,
  EHOSTUNREACH: () => 'there is no way to that host',
  ENETUNREACH: () => 'there is no way to that network',
  EPROTO: () => 'the server does not answer with TLS, which https:// and amqps:// want',
  HPE_INVALID_CONSTANT: () => 'what answers there does not speak HTTP',
}

/**
 * Why a connection or a request failed, on one line: what it means, then what the system said. Looks into the `cause` of
 * what `fetch` throws, and into the errors for each address of a host (`AggregateError`), whose own message is empty.
 */
export function failureReason(error: unknown): string {
  const { errors, cause, message, code, hostname } = error as NodeJS.ErrnoException & {
    errors?: readonly unknown[]
    cause?: unknown
    hostname?: string
  }
  if (Array.isArray(errors) && errors.length > 0) return [...new Set(errors.map(failureReason))].join('; ')
  if (cause instanceof Error && message === 'fetch failed') return failureReason(cause)
  const said = (error instanceof Error ? message || code || error.name : String(error))
    .replace(/\s+/g, ' ')
    .trim()
  const words = code === undefined ? undefined : WORDS[code]
  return words === undefined ? said : `${words({ ...(hostname !== undefined && { hostname }) })} (${said})`
}
