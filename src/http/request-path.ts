/** The write key of a webhook's URL, and what is behind it. */
const KEY_IN_PATH = /^(\/api\/hook\/[^/]+\/).+$/

/** The path of a request as routes have it: clients that join a host and a path may write a slash too many. */
export function pathOf(url: string): string {
  const path = url.split('?', 1)[0] as string
  return path.replace(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '')
}

/** The same as an answer may repeat it: without a key. */
export function shownPathOf(url: string): string {
  return pathOf(url).replace(KEY_IN_PATH, '$1…')
}
