let isLineOpen = false

/** What is happening now: one line that is overwritten on a terminal, a line each elsewhere. */
export function progress(text: string): void {
  if (!process.stdout.isTTY) {
    process.stdout.write(`${text}\n`)
    return
  }
  process.stdout.write(`\r\x1b[K${text}`)
  isLineOpen = true
}

/** Ends the line that is overwritten, so that what follows stands below it. */
export function endProgress(): void {
  if (isLineOpen) process.stdout.write('\n')
  isLineOpen = false
}
