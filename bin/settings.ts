/** How commands get their settings: flags, and `.env`. */
import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import type { Command } from 'commander'
import type { Setting } from '../src/config/config.ts'
import { ConfigInvalid } from '../src/errors.ts'

/** Sets what `.env` in the working directory says and the environment does not. The AWS SDK reads it from there too. */
export function loadDotEnv(): void {
  let text: string
  try {
    text = readFileSync('.env', 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw new ConfigInvalid(`.env cannot be read: ${(error as Error).message}`)
  }
  for (const [name, value] of Object.entries(parseEnv(text))) process.env[name] ??= value
}

export function addSettings(command: Command, settings: readonly Setting[]): void {
  for (const { flag, description, default: fallback } of settings)
    command.option(`${flag} <value>`, `${description} Default: ${fallback}.`)
}
