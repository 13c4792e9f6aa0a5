import { existsSync } from 'node:fs'
import type { Config } from '../../config/config.ts'
import { logKeys } from '../../log/log-keys.ts'
import { openStoreReader } from '../../store/open-store.ts'
import { type Finding, inTime, messageOf } from './finding.ts'

/** Tests whether an archive that has objects has a log too. Archivers refuse an archive that has only objects. */
export async function checkLog(config: Config): Promise<Finding> {
  const name = 'log'
  try {
    return await inTime(find(name, config))
  } catch (error) {
    return { name, result: 'trouble', detail: messageOf(error) }
  }
}

async function find(name: string, config: Config): Promise<Finding> {
  const { archive } = config
  const empty: Finding = {
    name,
    result: 'ok',
    detail: 'the archive has no objects: the first archiver begins its log',
  }
  if (archive.kind === 'directory' && !existsSync(archive.path)) return empty
  const store = await openStoreReader(config)
  try {
    const keys = logKeys(archive.prefix)
    const { object } = await store.read(keys.record(0), { start: 0, length: 1 })
    if (object !== undefined) return { name, result: 'ok', detail: 'the archive has a log' }
    for await (const key of store.list(`${archive.prefix}/dt=`))
      return {
        name,
        result: 'trouble',
        detail: `the archive has objects (${key}) but no log, so archivers would archive nothing. Stop all archivers, and run "frequency log build" once`,
      }
    return empty
  } finally {
    await store.close()
  }
}
