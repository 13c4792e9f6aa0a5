import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { awsEndpoint } from '../src/config/aws-settings.ts'
import type { Config } from '../src/config/config.ts'
import { withSlowNotice } from '../src/process/slow-notice.ts'
import { openStore } from '../src/store/open-store.ts'
import type { ObjectStore } from '../src/store/store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    store: ObjectStore
  }
}

export interface StoreOptions {
  readonly config: Config
  /** A store that the caller has opened, and closes. */
  readonly given: ObjectStore | undefined
}

async function store(app: FastifyInstance, { config, given }: StoreOptions): Promise<void> {
  if (given !== undefined) {
    app.decorate('store', given)
    return
  }
  const opened = await withSlowNotice(openStore(config), () =>
    app.log.info(
      { archive: placeOf(config), endpoint: endpointOf(config) },
      'Still waiting for the archive to answer.',
    ),
  )
  app.decorate('store', opened)
  app.addHook('onClose', () => opened.close())
}

function placeOf({ archive }: Config): string {
  return archive.kind === 's3' ? `s3://${archive.bucket}/${archive.prefix}` : archive.path
}

/** Undefined if the archive is a directory, or in S3 of AWS. */
function endpointOf({ archive }: Config): string | undefined {
  return archive.kind === 's3' ? awsEndpoint(process.env)?.url.origin : undefined
}

export default fp(store, { name: 'store' })
