/**
 * A process whose embedded queue gets a full disk, for a test that limits the size of its files:
 *
 *     ulimit -f BLOCKS; node --import=tsx test/helpers/full-disk-process.ts DATA_DIR
 *
 * Publishes until publishing fails, acknowledges everything, and publishes again. Prints the result as JSON.
 */
import { openQueue } from '../../src/queue/open-queue.ts'
import { configOf, silent } from './helper.ts'
import { Inbox, publishesAgain } from './queue-helper.ts'

// Node gets EFBIG if a file is too large. In a process with the hooks of tap, the signal would end the process.
process.on('SIGXFSZ', () => {})

const BODY = Buffer.alloc(64 * 1024, 'x')
const PUBLISHES_AT_ONCE = 4

const [dataDir = ''] = process.argv.slice(2)
const queue = await openQueue(configOf({ DATA_DIR: dataDir, PUBLISH_EVENTS_MAX: '1' }), silent)
const refusals: { code: string; message: string }[] = []
let confirmed = 0

async function publish(): Promise<void> {
  try {
    await queue.publish({ messageId: 'm', body: BODY })
    confirmed++
  } catch (error) {
    refusals.push(error as { code: string; message: string })
  }
}

while (refusals.length < 3 * PUBLISHES_AT_ONCE)
  await Promise.all(Array.from({ length: PUBLISHES_AT_ONCE }, publish))
const troubleWhenFull = queue.trouble
const inbox = new Inbox(queue)
await inbox.receives(confirmed)
inbox.consumer.ack(inbox.deliveries)
await publishesAgain(queue)
await inbox.receives(confirmed + 1)
const result = {
  confirmed,
  refusals,
  delivered: inbox.deliveries.length,
  troubleWhenFull,
  trouble: queue.trouble,
}
await queue.close()
process.stdout.write(JSON.stringify(result))
