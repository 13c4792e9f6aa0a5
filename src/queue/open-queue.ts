import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import type { Logger } from '../process/logger.ts'
import { GroupingQueue } from './grouping-queue.ts'
import type { Queue, Transport } from './queue.ts'

/**
 * Opens the queue that the config names: RabbitMQ if `amqpUrl` is set, else the embedded queue. On RabbitMQ
 * every role but `archive` gets a spool, unless `spool` is off.
 *
 * @throws ConfigInvalid if a setting cannot work.
 */
export async function openQueue(config: Config, log: Logger): Promise<Queue> {
  return new GroupingQueue(await openTransport(config, log), config)
}

async function openTransport(config: Config, log: Logger): Promise<Transport> {
  const paths = { spools: join(config.dataDir, 'spool'), embedded: join(config.dataDir, 'queue') }
  if (config.amqpUrl !== undefined) {
    const { openRabbitmqQueue } = await import('./rabbitmq/rabbitmq.ts')
    const broker = await openRabbitmqQueue({ ...config, amqpUrl: config.amqpUrl }, log)
    if (config.role === 'archive') return broker
    if (config.spool === 'on') {
      const { openSpooledQueue } = await import('./spooled.ts')
      return openSpooledQueue(broker, paths, config, log)
    }
    await warnOfUnopened(paths, config, log)
    return broker
  }
  const { openEmbeddedQueue } = await import('./embedded/embedded.ts')
  const queue = await openEmbeddedQueue(paths.embedded, config, log)
  await warnOfUnopened(paths, config, log)
  return queue
}

/** Warns of events on disk that this process does not drain: only a process with a broker and a spool does. */
async function warnOfUnopened(
  paths: { spools: string; embedded: string },
  config: Config,
  log: Logger,
): Promise<void> {
  if (!existsSync(config.amqpUrl === undefined ? paths.spools : config.dataDir)) return
  const { countUnopened } = await import('./spooled.ts')
  const events = await countUnopened(paths, config, log)
  if (events > 0)
    log.warn(
      { events, dataDir: config.dataDir },
      'Events of an earlier run wait on disk for a broker. Start once with AMQP_URL and SPOOL=on to publish them.',
    )
}
