/** Plain explanations of error codes, put before the system's message. */
const EXPLANATIONS: Record<string, (error: { hostname?: string }) => string> = {
  ECONNREFUSED: () => 'nothing listens there',
  ENOTFOUND: ({ hostname }) => `there is no host ${hostname ?? 'of that name'}`,
  EAI_AGAIN: ({ hostname }) => `the name ${hostname ?? 'of the host'} cannot be looked up now`,
  EHOSTUNREACH: () => 'there is no way to that host',
  ENETUNREACH: () => 'there is no way to that network',
  EPROTO: () => 'the server does not answer with TLS, which https:// and amqps:// need',
  HPE_INVALID_CONSTANT: () => 'the server there does not speak HTTP',
}

/**
 * @returns why a connection or a request failed, on one line: an explanation, then the system's message. It is taken from
 *   the `cause` of an error of `fetch`, and from the errors in an `AggregateError` (one for each address of a host)
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
  const words = code === undefined ? undefined : EXPLANATIONS[code]
  return words === undefined ? said : `${words({ ...(hostname !== undefined && { hostname }) })} (${said})`
}
