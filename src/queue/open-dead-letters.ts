import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import type { DeadLetters } from './dead-letters.ts'

export type DeadLettersConfig = Pick<Config, 'amqpUrl' | 'amqpQueue' | 'dataDir' | 'publishMsMax'>

/**
 * Opens the dead letters of the queue that the config names.
 *
 * @throws ConfigInvalid if a setting has to be corrected, or another process has to be stopped first.
 * @throws QueueUnavailable if the broker cannot be reached now.
 */
export async function openDeadLetters(config: DeadLettersConfig): Promise<DeadLetters> {
  if (config.amqpUrl !== undefined) {
    const { openRabbitmqDeadLetters } = await import('./rabbitmq/rabbitmq-dead-letters.ts')
    return openRabbitmqDeadLetters({ ...config, amqpUrl: config.amqpUrl })
  }
  const { openEmbeddedDeadLetters } = await import('./embedded/embedded-dead-letters.ts')
  return openEmbeddedDeadLetters(join(config.dataDir, 'queue'))
}
