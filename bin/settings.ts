/** How commands get their settings: flags, and `.env`. */
import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import type { Command } from 'commander'
import type { Setting } from '../src/config/config.ts'
import { ConfigInvalid } from '../src/errors.ts'

/**
 * Reads `.env` in the working directory, if it exists, and sets its variables in `process.env` unless they are set. The
 * AWS SDK reads them from there.
 *
 * @throws ConfigInvalid if the file cannot be read
 */
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

/** Adds a flag for each setting. */
export function addSettings(command: Command, settings: readonly Setting[]): void {
  for (const { flag, description, default: fallback } of settings)
    command.option(`${flag} <value>`, `${description} Default: ${fallback}.`)
}
