/** Of the settings of a server only those that a command needs, so that one of the others cannot be in its way. */
import { type Setting, settings } from '../config/config.ts'

export const verifySettings = named('archiveUrl', 'dataDir', 's3ForcePathStyle')
export const deadSettings = named('amqpUrl', 'amqpQueue', 'dataDir', 'publishMsMax')
/** Where a process of this machine listens. */
export const statusSettings = named('host', 'port', 'adminHost', 'adminPort')

function named(...names: Setting['name'][]): readonly Setting[] {
  return settings.filter(({ name }) => names.includes(name))
}
