/**
 * Security headers of a page for browsers: scripts, styles and data come from this server only, no other page may frame
 * it, and its links send no referrer.
 *
 * @param directives add to the content security policy, or replace its defaults: `{ 'img-src': "'self' data:" }`
 */
export function pageHeaders(
  directives: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const policy = {
    'default-src': "'none'",
    'script-src': "'self'",
    'style-src': "'self'",
    'img-src': "'self'",
    'connect-src': "'self'",
    'base-uri': "'none'",
    'form-action': "'none'",
    'frame-ancestors': "'none'",
    ...directives,
  }
  return {
    'content-security-policy': Object.entries(policy)
      .map(entry => entry.join(' '))
      .join('; '),
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'permissions-policy': 'camera=(), geolocation=(), microphone=()',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
  }
}
