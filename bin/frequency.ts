#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { readConfig, settings } from '../src/config/config.ts'
import { ConfigInvalid } from '../src/errors.ts'
import { addCheck } from './check.ts'
import { addDead } from './dead.ts'
import { addLog } from './log.ts'
import { addSetting, loadDotEnv } from './settings.ts'
import { addStatus } from './status.ts'
import { addTail } from './tail.ts'
import { addVerify } from './verify.ts'

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
      // Only here, so that the other commands load no server.
      const { serve } = await import('./serve.ts')
      await serve(readConfig(flags, process.env))
    })
  for (const setting of settings) addSetting(serveCommand, setting)
  addVerify(program)
  addLog(program)
  addStatus(program)
  addCheck(program)
  addDead(program)
  addTail(program)
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
  process.exitCode ??= 1
}
