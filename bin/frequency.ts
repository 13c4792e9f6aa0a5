#!/usr/bin/env node
import { ConfigInvalid } from '../src/errors.ts'
import { watchOutput } from './closed-output.ts'
import { createProgram } from './commands.ts'

async function run(): Promise<void> {
  watchOutput()
  try {
    await createProgram().parseAsync()
  } catch (error) {
    if (!(error instanceof ConfigInvalid)) throw error
    process.stderr.write(`frequency: ${error.message}\n`)
    process.exitCode ??= 1
  }
}

// Without `await`: the executable is CommonJS, which has no top-level await.
void run()
