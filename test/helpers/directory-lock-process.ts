/**
 * A process that locks directories, for tests that start many at once and kill them:
 *
 *     node --import=tsx test/helpers/directory-lock-process.ts PARENT
 *
 * Prints "ready", and reads lines "NAME AT" from standard input. At the time AT, in milliseconds since 1970, it tries
 * to lock PARENT/NAME, and prints "taken" or the error. It holds its locks until it is killed.
 */
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { lockDirectory } from '../../src/process/directory-lock.ts'

const [parent = ''] = process.argv.slice(2)

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

say('ready')
for await (const line of createInterface({ input: process.stdin })) {
  const [name = '', at = '0'] = line.split(' ')
  // A busy loop, since timers of different processes fire milliseconds apart.
  while (Date.now() < Number(at));
  await lockDirectory(join(parent, name)).then(
    () => say('taken'),
    error => say((error as Error).message),
  )
}
