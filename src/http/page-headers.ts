/**
 * Headers of what a browser shows: scripts, styles and data come from this server alone, no other page
 * may frame it, and it says nothing to the pages it links to.
 *
 * @param directives more of the content security policy, each a default of it replaced: `{ 'img-src': "'self' data:" }`
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
