/** Checks that run before any queue or store is opened, so that a failed start leaves no new directory behind. */
import cluster from 'node:cluster'
import { once } from 'node:events'
import { access, constants } from 'node:fs/promises'
import { createServer } from 'node:net'
import { resolve } from 'node:path'
import type { Config } from '../src/config/config.ts'
import { ConfigInvalid } from '../src/errors.ts'
import { nearestDirectory } from '../src/process/nearest-directory.ts'

/**
 * Checks the directories that this process will write to.
 *
 * @throws ConfigInvalid if one can be neither written nor created
 */
export async function tryDirectories({ dataDir, archive, role }: Config): Promise<void> {
  await tryDirectory(resolve(dataDir), 'DATA_DIR')
  if (archive.kind === 'directory' && role !== 'ingest') await tryDirectory(archive.path, archive.setting)
}

async function tryDirectory(path: string, setting: string): Promise<void> {
  let nearest = path
  try {
    nearest = await nearestDirectory(path)
    await access(nearest, constants.W_OK | constants.X_OK)
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const reason = code === 'EACCES' || code === 'EROFS' ? `this user may not write ${nearest}` : message
    throw new ConfigInvalid(`${setting}: ${path} cannot be used: ${reason}. Name another directory.`, {
      cause,
    })
  }
}

/**
 * Listens on each port for a moment. A worker tries none: it shares the ports of the primary, which has tried them.
 *
 * @throws ConfigInvalid if a setting makes a port unusable, else the error of `listen()`
 */
export async function tryPorts(config: Config): Promise<void> {
  if (cluster.isWorker) return
  const { host, port, adminHost, adminPort } = config
  const addresses = [
    { host, port },
    ...(adminPort === undefined ? [] : [{ host: adminHost, port: adminPort }]),
  ]
  for (const address of addresses) {
    const server = createServer()
    try {
      server.listen(address)
      await once(server, 'listening')
    } catch (error) {
      throw asConfigInvalid(Object.assign(error as Error, { port: address.port }), config)
    } finally {
      await new Promise(resolve => server.close(resolve))
    }
  }
}

/**
 * Explains why a server cannot listen.
 *
 * @returns a ConfigInvalid that names the wrong setting, or `error` itself if no setting is the cause
 */
export function asConfigInvalid(error: unknown, config: Config): unknown {
  const { code, port = config.port } = error as NodeJS.ErrnoException & { port?: number }
  const isAdmin = port === config.adminPort && port !== config.port
  const host = isAdmin ? config.adminHost : config.host
  const prefix = isAdmin ? 'ADMIN_' : ''
  if (code === 'EADDRINUSE')
    return new ConfigInvalid(
      `${prefix}PORT: ${host}:${port} is in use by another program. Stop that program, or set ${prefix}PORT to another port.`,
    )
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return new ConfigInvalid(
      `${prefix}HOST: ${host} is not an address of this machine. Set ${prefix}HOST to 127.0.0.1, or to 0.0.0.0 for all addresses.`,
    )
  if (code === 'EACCES')
    return new ConfigInvalid(
      `${prefix}PORT: this user may not listen on ${host}:${port}. Set ${prefix}PORT to 1024 or more.`,
    )
  return error
}
