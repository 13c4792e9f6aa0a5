/** What is happening now goes to standard error, so that standard output has the table alone. */
export function progress(text: string): void {
  process.stderr.write(`${text}\n`)
}
