import { ConfigInvalid } from '../../errors.ts'
import { createLogger } from '../../process/logger.ts'
import { openQueue } from '../../queue/open-queue.ts'
import type { ReplayState } from '../../replay/checkpoint.ts'
import { bodyForm } from '../../replay/event-bodies.ts'
import { FileTarget, LinesFile, StreamTarget } from '../../replay/file-target.ts'
import { HttpTarget } from '../../replay/http-target.ts'
import { QueueTarget } from '../../replay/queue-target.ts'
import type { ReplayTarget } from '../../replay/target.ts'
import { querySettings, readOwnConfig, replaySettings, type SettingFlags } from '../own-settings.ts'
import type { Destination, ReplayFlags, ReplayOptions } from './options.ts'

/** The settings of the command. Those of the queue are read only if it is the target. */
export function replayConfig({ kind }: Destination, flags: SettingFlags, env: NodeJS.ProcessEnv) {
  if (kind !== 'queue') return readOwnConfig(querySettings, flags, env)
  // An event that is in the spool of this process would stay there until a server runs here.
  const fixed: SettingFlags = (flags.amqpUrl ?? env.AMQP_URL) ? { role: 'ingest', spool: 'off' } : {}
  return readOwnConfig(replaySettings, flags, env, fixed)
}

/** @throws ConfigInvalid, ReplayStopped if it cannot be written */
export async function openTarget(
  options: ReplayOptions,
  flags: ReplayFlags,
  env: NodeJS.ProcessEnv,
  { state, mayReplace }: { readonly state: ReplayState; readonly mayReplace: boolean },
  onRetry: (reason: string) => void,
): Promise<ReplayTarget> {
  const { destination, batchEvents, headers, concurrency, requestMsMax, retryMsMax } = options
  if (destination.kind === 'stdout') return new StreamTarget(process.stdout)
  if (destination.kind === 'file') {
    const file = await LinesFile.open('--output', destination.path, state.outputBytes, mayReplace)
    return new FileTarget(destination.path, file)
  }
  if (destination.kind === 'queue') return await openQueueTarget(flags, env, { retryMsMax, onRetry })
  const form = bodyForm(destination.url, flags.body, batchEvents)
  const key = flags.writeKey ?? env.REPLAY_WRITE_KEY
  const keyHeader = key === undefined || key === '' ? {} : Object.fromEntries([form.keyHeader(key)])
  return new HttpTarget(destination.url, {
    form,
    headers: { ...keyHeader, ...headers },
    concurrency,
    requestMsMax,
    retryMsMax,
    onRetry,
  })
}

async function openQueueTarget(
  flags: ReplayFlags,
  env: NodeJS.ProcessEnv,
  options: { retryMsMax: number; onRetry(reason: string): void },
): Promise<ReplayTarget> {
  const config = replayConfig({ kind: 'queue' }, flags, env)
  try {
    return new QueueTarget(await openQueue(config, createLogger('silent', false)), options)
  } catch (error) {
    if (!(error instanceof ConfigInvalid) || config.amqpUrl !== undefined) throw error
    throw new ConfigInvalid(
      `${error.message} Or replay to the server that uses it: --to http://HOST:PORT/api/t/batch.`,
      { cause: error },
    )
  }
}
