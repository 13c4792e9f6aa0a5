import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { BackgroundCommand } from '../src/background/background-command.ts'
import type { Config } from '../src/config/config.ts'

const INTERVAL_MS = 24 * 60 * 60 * 1000

interface Report {
  readonly days: readonly { readonly objects: number; readonly files: number }[]
  readonly heldFrom?: string
}

/** Removes days that are older than RETENTION or RAW_RETENTION, once a day. */
async function expire(app: FastifyInstance, config: Config): Promise<void> {
  const { retention, rawRetention, dedupeWindowMs } = config
  if (retention === undefined && rawRetention === undefined) return
  const command = new BackgroundCommand({
    config,
    log: app.log,
    args: ['expire', '--yes', '--json', '--no-progress'],
    env: {
      RETENTION: retention === undefined ? '' : String(retention),
      RAW_RETENTION: rawRetention === undefined ? '' : String(rawRetention),
      DEDUPE_WINDOW_MS: String(dedupeWindowMs),
    },
    lockName: 'expiry-keeper',
    intervalMs: INTERVAL_MS,
    done: report => {
      const { days, heldFrom } = report as Report
      const [objects, files] = [sum(days, 'objects'), sum(days, 'files')]
      if (days.length > 0)
        app.log.info({ days: days.length, objects, files }, 'Days that have expired were removed.')
      if (heldFrom !== undefined)
        app.log.warn(
          { heldFrom },
          'Objects older than RAW_RETENTION stay: their events are not all in the table.',
        )
    },
    failure: 'Days that have expired were not removed. The next run tries again.',
  })
  app.addHook('onReady', async () => command.start())
  app.addHook('onClose', () => command.stop())
}

function sum(days: Report['days'], name: 'objects' | 'files'): number {
  return days.reduce((total, day) => total + day[name], 0)
}

export default fp(expire, { name: 'expire', dependencies: ['archiver'] })
