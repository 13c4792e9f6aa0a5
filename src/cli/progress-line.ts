const SHOWN_MS = 200
const CLEAR_LINE = '\r\u001b[K'

/**
 * Shows a text on the last line of a terminal, again and again.
 *
 * @param isWanted the user wants it. It is shown only if standard error is a terminal
 * @returns ends it, and clears the line; may be called twice
 */
export function showProgress(isWanted: boolean, text: () => string): () => void {
  if (!isWanted || !process.stderr.isTTY) return () => {}
  const timer = setInterval(() => process.stderr.write(CLEAR_LINE + text()), SHOWN_MS)
  return () => {
    clearInterval(timer)
    process.stderr.write(CLEAR_LINE)
  }
}
