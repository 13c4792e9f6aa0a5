#!/usr/bin/env node
import { ConfigInvalid } from '../src/errors.ts'
import { watchOutput } from './closed-output.ts'
import { createProgram } from './commands.ts'
import { wrongUsageCode } from './usage.ts'

async function run(): Promise<void> {
  watchOutput()
  const program = createProgram()
  try {
    await program.parseAsync()
  } catch (error) {
    if (!(error instanceof ConfigInvalid)) throw error
    process.stderr.write(`frequency: ${error.message}\n`)
    process.exitCode = wrongUsageCode(program.args[0])
  }
}

// Without `await`: the executable is CommonJS, which has no top-level await.
void run()
