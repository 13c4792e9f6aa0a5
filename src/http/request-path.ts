/** Matches the path of a webhook that has its write key in the path, also behind a prefix. The key can then be replaced. */
const KEY_IN_PATH = /^(.*\/api\/hook\/[^/]+\/).+$/

/** The path of a URL as routes are named: without the query, repeated slashes and a slash at the end. */
export function pathOf(url: string): string {
  const path = url.split('?', 1)[0] as string
  return path.replace(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '')
}

/** `pathOf` without the write key, to be shown in an answer. */
export function shownPathOf(url: string): string {
  return pathOf(url).replace(KEY_IN_PATH, '$1…')
}
