/**
 * A process that uses an embedded queue, for tests that kill it:
 *
 *     node --import=tsx test/helpers/embedded-process.ts DATA_DIR [EVENTS_IN_FLIGHT]
 *
 * Prints "open" when the queue is open, or the error. Then publishes numbered events, and prints the number of each
 * confirmed event in a line, until it is killed or its standard input ends.
 */
import { openQueue } from '../../src/queue/open-queue.ts'
import { configOf, eventOf, silent } from './helper.ts'

const [dataDir = '', inFlight = '0'] = process.argv.slice(2)

function say(line: string | number): void {
  process.stdout.write(`${line}\n`)
}

try {
  const queue = await openQueue(configOf({ DATA_DIR: dataDir }), silent)
  say('open')
  let next = 0
  let isEnding = false
  process.stdin.resume().once('end', () => {
    isEnding = true
  })
  const publishers = Array.from({ length: Number(inFlight) }, async () => {
    while (!isEnding) {
      const n = next++
      await queue.publish(eventOf({ event: 'counted', n }))
      say(n)
    }
  })
  await Promise.all([...publishers, new Promise(resolve => process.stdin.once('end', resolve))])
  await queue.close()
} catch (error) {
  say((error as Error).message)
  process.exitCode = 1
}
