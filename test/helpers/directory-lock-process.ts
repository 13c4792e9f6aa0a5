/**
 * A process that takes directories for itself, for tests that start many at once and kill them:
 *
 *     node --import=tsx test/helpers/directory-lock-process.ts PARENT
 *
 * Says "ready", and answers each line "NAME AT" of its standard input, where AT is a time in milliseconds
 * since 1970: tries to take PARENT/NAME at that time, and says "taken", or why it has not. What it has
 * taken it holds until it is killed.
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
  // Not a timer: those of several processes are milliseconds apart.
  while (Date.now() < Number(at));
  await lockDirectory(join(parent, name)).then(
    () => say('taken'),
    error => say((error as Error).message),
  )
}
