import { createInterface } from 'node:readline/promises'
import { ConfigInvalid } from '../errors.ts'

/** Asks the user. @throws ConfigInvalid if there is no terminal to ask */
export async function isAgreed(isJson = false): Promise<boolean> {
  if (isJson || !process.stdin.isTTY || !process.stdout.isTTY)
    throw new ConfigInvalid('Nothing was changed. Add --yes to do it without asking.')
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  try {
    return /^y(?:es)?$/i.test((await terminal.question('Do it? [y/N] ')).trim())
  } finally {
    terminal.close()
  }
}
