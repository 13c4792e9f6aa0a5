let isLineOpen = false

/** Shows the present step. On a terminal the line is overwritten by the next one. */
export function progress(text: string): void {
  if (!process.stdout.isTTY) {
    process.stdout.write(`${text}\n`)
    return
  }
  process.stdout.write(`\r\x1b[K${text}`)
  isLineOpen = true
}

/** Ends the line of progress(), so that further output begins on a new line. */
export function endProgress(): void {
  if (isLineOpen) process.stdout.write('\n')
  isLineOpen = false
}
