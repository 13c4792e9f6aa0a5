import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { TableKeeper } from '../src/compact/table-keeper.ts'
import { parseTableColumns } from '../src/compact/typed-columns.ts'
import type { Config } from '../src/config/config.ts'

async function table(app: FastifyInstance, config: Config): Promise<void> {
  parseTableColumns(config.tableColumns)
  if (config.table !== 'on') return
  const keeper = new TableKeeper({ config, log: app.log })
  app.addHook('onReady', async () => keeper.start())
  app.addHook('onClose', () => keeper.stop())
}

export default fp(table, { name: 'table', dependencies: ['archiver'] })
