#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { Command } from 'commander'
import { readConfig, settings } from '../src/config.ts'
import { ConfigInvalid } from '../src/errors.ts'
import { serve } from './serve.ts'

/** Sets what `.env` in the working directory says and the environment does not. The AWS SDK reads it from there too. */
function loadDotEnv(): void {
  let text: string
  try {
    text = readFileSync('.env', 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw new ConfigInvalid(`.env cannot be read: ${(error as Error).message}`)
  }
  for (const [name, value] of Object.entries(parseEnv(text))) process.env[name] ??= value
}

function createProgram(): Command {
  const { version } = JSON.parse(readFileSync(findPackageJson(), 'utf8'))
  const program = new Command('frequency')
    .description('Takes analytics events over HTTP, queues them durably and archives them in batches.')
    .version(version)

  const serveCommand = program
    .command('serve')
    .description('Run the roles of this process until it gets SIGTERM or SIGINT.')
    .addHelpText(
      'after',
      '\nEach flag is an environment variable too (--batch-events-max is BATCH_EVENTS_MAX); flags win, and .env is read.',
    )
    .action(async (flags: Record<string, string>) => {
      loadDotEnv()
      await serve(readConfig(flags, process.env))
    })
  for (const setting of settings) {
    serveCommand.option(`${setting.flag} <value>`, `${setting.description} Default: ${setting.default}.`)
  }
  return program
}

/** The sources run from bin/, and the build from dist/bin/. */
function findPackageJson(): URL {
  const isBuilt = import.meta.url.endsWith('.js')
  return new URL(isBuilt ? '../../package.json' : '../package.json', import.meta.url)
}

try {
  await createProgram().parseAsync()
} catch (error) {
  if (!(error instanceof ConfigInvalid)) throw error
  process.stderr.write(`frequency: ${error.message}\n`)
  process.exitCode = 1
}
