/** The path of a request as routes have it: clients that join a host and a path may write a slash too many. */
export function pathOf(url: string): string {
  const path = url.split('?', 1)[0] as string
  return path.replace(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '')
}
