/** Prints the present step to standard error. Standard output has only the table. */
export function progress(text: string): void {
  process.stderr.write(`${text}\n`)
}
