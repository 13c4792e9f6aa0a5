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
  statusOfAll,
} from '../src/observability/process-status.ts'
import { brokerWatch } from '../src/queue/broker-watch.ts'

/**
 * Saves the counts of this process in a ledger entry, and serves `GET /status`. `frequency status` balances the answers
 * of several processes.
 *
 * Register it before the plugins whose events it counts: so the entry is closed after them. It is opened in `onReady`,
 * when they are all there.
 */
async function ledger(app: FastifyInstance, config: Config): Promise<void> {
  let opened: { entry: LedgerEntry; sources: StatusSources } | undefined

  app.addHook('onReady', async () => {
    const { queue, readiness, log } = app
    const archiver = app.hasDecorator('archiver') ? app.archiver : undefined
    const entry = await openLedgerEntry({
      path: join(config.dataDir, 'ledger'),
      log,
      counted: () => countsOf(queue, archiver),
      found: queue.state.disks.reduce((sum, { stats }) => sum + stats.foundEvents, 0),
    })
    const startedAt = new Date()
    const waiting = brokerWatch(queue)
    opened = { entry, sources: { config, startedAt, queue, archiver, readiness, entry, waiting } }
  })
  app.addHook('onClose', async () => opened?.entry.close())

  app.workerMessages.answer('status', async () => {
    assert(opened !== undefined, 'The app is not ready.')
    return processStatusOf(opened.sources)
  })
  app.get(
    '/status',
    { config: { forOperators: true }, schema: { response: { 200: processStatusSchema } } },
    async () => statusOfAll((await app.workerMessages.ask('status')) as [ProcessStatus, ...ProcessStatus[]]),
  )
}

export default fp(ledger, { name: 'ledger', dependencies: ['worker-messages'] })
