/** The npm package in an empty directory: the command `frequency`, and the plugin in a server of one's own. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { exampleOf, install, PACKAGE_NAME, pack } from '../bin/packed.ts'
import { startProgram } from '../bin/program.ts'
import { freePort } from '../services/ports.ts'
import { type Program, programIn } from '../services/program.ts'
import { until } from '../services/wait.ts'
import type { Way } from './main-job.ts'

const LISTENS_MS_MAX = 30_000
/** Of the example in docs/embedding.md. */
const PREFIX = '/events'
/** The live page is closed there: it has no token. */
const PATHS = ['/readyz', '/healthz', '/metrics', '/documentation/json']

let installed: Promise<string> | undefined

/** Installs the package once for both ways. */
function installedIn(t: Test): Promise<string> {
  installed ??= pack(t).then(packed => install(t, packed))
  return installed
}

/** @param suite removes the package when it ends */
export async function packaged(t: Test, suite: Test): Promise<Way> {
  const directory = await installedIn(suite)
  const cwd = join(directory, 'packaged')
  mkdirSync(cwd)
  const path = commandIn(directory)
  return {
    name: 'package',
    start: (args, env) => startProgram(t, path, { args, cwd, ...(env !== undefined && { env }) }),
  }
}

/** The example of docs/embedding.md. The commands are those of the package. */
export async function plugin(t: Test, suite: Test): Promise<Way> {
  const directory = await installedIn(suite)
  const cwd = join(directory, 'plugin')
  mkdirSync(cwd)
  const script = join(cwd, 'server.mjs')
  writeFileSync(script, exampleOf('docs/embedding.md', 'server.mjs'))
  const port = await freePort()
  return {
    name: 'plugin',
    prefix: PREFIX,
    paths: PATHS,
    start: ([command = '', ...args], env) =>
      command === 'serve'
        ? startProgram(t, script, { args: [], cwd, env: { PORT: String(port) } })
        : startProgram(t, commandIn(directory), { args: [command, ...args], cwd, env: { ...env } }),
    listening: server => answers(server, `http://127.0.0.1:${port}`),
  }
}

function commandIn(directory: string): string {
  return programIn(join(directory, 'node_modules', PACKAGE_NAME, 'dist'))
}

async function answers(server: Program, url: string): Promise<string> {
  await until('the server answers', LISTENS_MS_MAX, () =>
    fetch(url).then(
      ({ ok }) => ok,
      () => server.hasEnded,
    ),
  )
  server.assertRunning()
  return url
}
