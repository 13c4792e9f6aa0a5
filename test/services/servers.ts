/** RabbitMQ and an S3 server, started at the same time. */
import { ensureServers } from './install.ts'
import { type Rabbitmq, type RabbitmqOptions, startRabbitmq } from './rabbitmq.ts'
import { type Radosgw, type RadosgwOptions, startRadosgw } from './radosgw.ts'

export interface ServersOptions {
  readonly rabbitmq?: RabbitmqOptions
  readonly radosgw?: RadosgwOptions
}

export interface Servers {
  readonly rabbitmq: Rabbitmq
  readonly radosgw: Radosgw
  /** Ends both and removes their data. */
  close(): Promise<void>
}

interface Closable {
  close(): Promise<void>
}

/**
 * Installs missing packages, and starts one RabbitMQ node and radosgw.
 * @throws Error as ensureServers(), startRabbitmq() and startRadosgw(); then neither server runs
 */
export async function startServers(options: ServersOptions = {}): Promise<Servers> {
  await ensureServers()
  const [rabbitmq, radosgw] = await bothOrNone(startRabbitmq(options.rabbitmq), startRadosgw(options.radosgw))
  const close = async () => {
    await Promise.all([rabbitmq.close(), radosgw.close()])
  }
  return { rabbitmq, radosgw, close }
}

/** Resolves to both. If one rejects, the other is closed and the error is thrown. Either may be undefined: not needed. */
export async function bothOrNone<A extends Closable | undefined, B extends Closable | undefined>(
  first: Promise<A> | A,
  second: Promise<B> | B,
): Promise<[A, B]> {
  try {
    return await Promise.all([first, second])
  } catch (err) {
    for (const started of await Promise.allSettled([first, second]))
      if (started.status === 'fulfilled') await started.value?.close()
    throw err
  }
}
