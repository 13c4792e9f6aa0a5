import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { createApp } from '../../plugins/app.ts'
import { readConfig } from '../../src/config/config.ts'
import { createLogger } from '../../src/process/logger.ts'
import { archivedObjects } from '../bin/archived.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { until } from '../services/wait.ts'

const DRAIN_MS_MAX = 60_000

export interface ServedApp {
  readonly app: FastifyInstance
  readonly port: number
  readonly url: string
  /** Closes the app. Resolves to the archived lines, in order. */
  archivedLines(): Promise<string[]>
}

/**
 * Starts the app on a free port, with a data directory of its own. Its batches stay open for minutes, so that
 * all events stay in the queue until the app closes.
 */
export async function serveApp(t: Test, env: Record<string, string> = {}): Promise<ServedApp> {
  const DATA_DIR = env.DATA_DIR ?? temporaryDirectory(t)
  const ARCHIVE_URL = join(DATA_DIR, 'archive')
  const config = readConfig(
    {},
    { DATA_DIR, ARCHIVE_URL, ARCHIVE_COMPRESSION: 'none', BATCH_AGE_MS_MAX: '600000', ...env },
  )
  const app = await createApp(config, createLogger('silent', false))
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo

  async function archivedLines(): Promise<string[]> {
    await until('all events are in a batch', DRAIN_MS_MAX, async () => (await app.queue.depth()) === 0)
    await app.close()
    return (await archivedObjects(config)).flatMap(({ lines }) => lines)
  }

  return { app, port, url: `http://127.0.0.1:${port}`, archivedLines }
}

/** The archived events of these lines. */
export function parseLines(lines: readonly string[]): Record<string, unknown>[] {
  return lines.map(line => JSON.parse(line))
}
