import assert from 'node:assert'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { type LedgerEntry, openLedgerEntry } from '../src/observability/ledger-entry.ts'
import {
  countsOf,
  type ProcessStatus,
  processStatusOf,
  processStatusSchema,
  type StatusSources,
  together,
} from '../src/observability/process-status.ts'
import { brokerWatch } from '../src/queue/broker-watch.ts'

/**
 * Keeps the book of what this process counts, and answers `GET /status` with it: `frequency status` makes
 * a ledger of what several processes say.
 *
 * To be registered before what is counted, so that the book is closed after it; it is opened when all of
 * that is there.
 */
async function ledger(app: FastifyInstance, config: Config): Promise<void> {
  let opened: { book: LedgerEntry; sources: StatusSources } | undefined

  app.addHook('onReady', async () => {
    const { queue, readiness, log } = app
    const archiver = app.hasDecorator('archiver') ? app.archiver : undefined
    const book = await openLedgerEntry({
      path: join(config.dataDir, 'ledger'),
      log,
      counted: () => countsOf(queue, archiver),
      found: queue.state.disks.reduce((sum, { stats }) => sum + stats.foundEvents, 0),
    })
    const startedAt = new Date()
    const waiting = brokerWatch(queue)
    opened = { book, sources: { config, startedAt, queue, archiver, readiness, book, waiting } }
  })
  app.addHook('onClose', async () => opened?.book.close())

  app.workerMessages.answer('status', async () => {
    assert(opened !== undefined, 'The app is not ready.')
    return processStatusOf(opened.sources)
  })
  app.get(
    '/status',
    { config: { forOperators: true }, schema: { response: { 200: processStatusSchema } } },
    async () => together((await app.workerMessages.ask('status')) as [ProcessStatus, ...ProcessStatus[]]),
  )
}

export default fp(ledger, { name: 'ledger', dependencies: ['worker-messages'] })
