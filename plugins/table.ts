import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { BackgroundCommand } from '../src/background/background-command.ts'
import { parseTableColumns } from '../src/compact/typed-columns.ts'
import type { Config } from '../src/config/config.ts'

const INTERVAL_MS = 10 * 60 * 1000

/** Compacts when an hour is over, and now and then for events that came late. */
async function table(app: FastifyInstance, config: Config): Promise<void> {
  parseTableColumns(config.tableColumns)
  if (config.table !== 'on') return
  const command = new BackgroundCommand({
    config,
    log: app.log,
    args: ['compact', '--json', '--no-progress'],
    env: { BATCH_AGE_MS_MAX: String(config.batchAgeMsMax), TABLE_COLUMNS: config.tableColumns ?? '' },
    lockName: 'table-keeper',
    intervalMs: INTERVAL_MS,
    done: report => {
      if ((report as { readonly files: number }).files > 0)
        app.log.info(report, 'Hours that are over were added to the table.')
    },
    failure: 'The table was not brought up to date. The archive is not affected.',
  })
  app.addHook('onReady', async () => command.start())
  app.addHook('onClose', () => command.stop())
}

export default fp(table, { name: 'table', dependencies: ['archiver'] })
