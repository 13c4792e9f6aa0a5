/** What can be seen to be wrong before anything is opened, so that a start that fails leaves no new directory behind. */
import cluster from 'node:cluster'
import { once } from 'node:events'
import { access, constants } from 'node:fs/promises'
import { createServer } from 'node:net'
import { resolve } from 'node:path'
import type { Config } from '../src/config/config.ts'
import { ConfigInvalid } from '../src/errors.ts'
import { nearestDirectory } from '../src/process/nearest-directory.ts'

/** @throws ConfigInvalid for a directory that this process will write to, and can neither write nor make. */
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
 * Listens on each port for a moment. Workers share the port of their primary, which has tried it.
 *
 * @throws ConfigInvalid for a port that cannot be listened on.
 */
export async function tryPorts(config: Config): Promise<void> {
  if (cluster.isWorker) return
  const { host, port, adminHost, adminPort } = config
  const places = [{ host, port }, ...(adminPort === undefined ? [] : [{ host: adminHost, port: adminPort }])]
  for (const place of places) {
    const server = createServer()
    try {
      server.listen(place)
      await once(server, 'listening')
    } catch (error) {
      throw asConfigInvalid(Object.assign(error as Error, { port: place.port }), config)
    } finally {
      await new Promise(resolve => server.close(resolve))
    }
  }
}

/** Says which setting is why a server cannot listen; any other error stays as it is. */
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
      `${prefix}HOST: ${host} is no address of this machine. Set ${prefix}HOST to 127.0.0.1, or to 0.0.0.0 for all addresses.`,
    )
  if (code === 'EACCES')
    return new ConfigInvalid(
      `${prefix}PORT: this user may not listen on ${host}:${port}. Set ${prefix}PORT to 1024 or more.`,
    )
  return error
}
