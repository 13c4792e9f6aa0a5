import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { parsePlugins } from '../src/config/plugin-settings.ts'
import { ConfigInvalid } from '../src/errors.ts'

/** Registers the plugins of PLUGINS, in their order. Register it last: they find all decorators. */
async function userPlugins(app: FastifyInstance, { plugins }: Config): Promise<void> {
  for (const entry of parsePlugins(plugins)) await app.register(await load(entry))
}

async function load(entry: string): Promise<FastifyPluginAsync> {
  const { default: loaded } = await importEntry(entry)
  // A CommonJS module that was compiled from ES syntax has its default export in `default` once more.
  const plugin =
    typeof loaded === 'function' ? loaded : (loaded as { default?: unknown } | undefined)?.default
  if (typeof plugin === 'function') return plugin as FastifyPluginAsync
  throw new ConfigInvalid(
    `PLUGINS: ${entry} has no function as its default export. Write \`export default async function (app) { … }\`.`,
  )
}

async function importEntry(entry: string): Promise<{ default?: unknown }> {
  try {
    return await import(pathToFileURL(pathOfEntry(entry)).href)
  } catch (cause) {
    const { message } = cause as Error
    throw new ConfigInvalid(
      `PLUGINS: ${entry} cannot be loaded: ${message.split('\n', 1)[0]}. Correct the path or the file.`,
      { cause },
    )
  }
}

/** Paths and packages are looked for from the working directory. */
function pathOfEntry(entry: string): string {
  if (/^(?:\.{0,2}[/\\]|[A-Za-z]:[/\\])/.test(entry) || /\.[cm]?[jt]s$/.test(entry)) return resolve(entry)
  return createRequire(join(process.cwd(), 'any')).resolve(entry)
}

export default fp(userPlugins, { name: 'user-plugins', dependencies: ['intake'] })
