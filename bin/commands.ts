/** The commands of the program, with their flags and help. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { awsSettings } from '../src/config/aws-settings.ts'
import { readConfig, settings } from '../src/config/config.ts'
import { packedFile } from '../src/process/packed-file.ts'
import { addCheck } from './check.ts'
import { addCompact } from './compact.ts'
import { addDead } from './dead.ts'
import { addErase } from './erase.ts'
import { addExpire } from './expire.ts'
import { addHealth } from './health.ts'
import { addLog } from './log.ts'
import { addQuery } from './query.ts'
import { addReplay } from './replay.ts'
import { addSettings, loadDotEnv } from './settings.ts'
import { addStatus } from './status.ts'
import { addTail } from './tail.ts'
import { explainWrongUsage, wrongUsageCode } from './usage.ts'
import { addVerify } from './verify.ts'

export function createProgram(): Command {
  const { version } = JSON.parse(String(packedFile('package.json') ?? readFileSync(findPackageJson())))
  const program = new Command('frequency')
    .description('Takes analytics events over HTTP, queues them durably and archives them in batches.')
    .version(version)

  const serveCommand = program
    .command('serve')
    .description('Run the server, in its ROLE, until it gets SIGTERM or SIGINT.')
    .addHelpText(
      'after',
      `
Each flag is also an environment variable: --batch-events-max is BATCH_EVENTS_MAX. A flag wins over the variable, and
the variable over .env. Times take a unit (500ms, 10s, 5m, 24h), or are milliseconds. Sizes take a unit (64KiB, 16MiB,
1GB), or are bytes. The AWS SDK reads these variables itself:
${awsSettings.map(({ variable }) => `  ${variable}\n`).join('')}`,
    )
    .action(async (flags: Record<string, string>) => {
      loadDotEnv()
      // Imported here, so that the other commands do not load the server.
      const { serve } = await import('./serve.ts')
      await serve(readConfig(flags, process.env))
    })
  addSettings(serveCommand, settings)
  addVerify(program)
  addLog(program)
  addStatus(program)
  addHealth(program)
  addCheck(program)
  addDead(program)
  addTail(program)
  addQuery(program)
  addCompact(program)
  addErase(program)
  addReplay(program)
  addExpire(program)
  explainWrongUsage(program)
  // A command that never comes to its end has not succeeded. A server sets no code when it ends well.
  program.hook('preAction', (_, command) => {
    if (command !== serveCommand) process.exitCode = wrongUsageCode(program.args[0])
  })
  return program
}

/** The sources run from bin/, and the build from dist/bin/. */
function findPackageJson(): URL {
  const isBuilt = import.meta.url.endsWith('.js')
  return new URL(isBuilt ? '../../package.json' : '../package.json', import.meta.url)
}
