/**
 * Runs a part of the suite on other releases of Node, whose binaries come from the npm registry:
 *
 *     npm run test:nodes -- [RELEASE…]     24, or 20.19
 *
 * The part has what differs between releases: zlib, streams, HTTP, files, workers, signals, and the libraries that
 * talk to RabbitMQ and S3. The whole suite runs on the Node that `npm test` is started with.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const RELEASES = ['24', '26']
const TESTS = [
  'test/bin/frequency.test.ts',
  'test/bin/shutdown.test.ts',
  'test/bin/start.test.ts',
  'test/bin/workers.test.ts',
  'test/contract/queue.test.ts',
  'test/contract/store.test.ts',
  'test/src/object/format.test.ts',
  'test/src/queue/client-internals.test.ts',
]

const run = promisify(execFile)

/** The path of the newest binary of a release, which is installed below node_modules/.cache if need be. */
async function nodeOf(release: string): Promise<string> {
  const name = `node-${process.platform}-${process.arch}`
  const directory = join(ROOT, 'node_modules/.cache/nodes', release)
  const path = join(directory, 'node_modules', name, 'bin/node')
  if (existsSync(path)) return path
  mkdirSync(directory, { recursive: true })
  process.stderr.write(`Installing Node ${release}\n`)
  await run('npm', ['install', '--no-save', '--no-package-lock', '--prefix', directory, `${name}@${release}`])
  return path
}

async function passes(path: string): Promise<boolean> {
  const { stdout } = await run(path, ['--version'])
  process.stderr.write(`On Node ${stdout.trim()}\n`)
  const tap = join(ROOT, 'node_modules/.bin/tap')
  const child = spawn(path, [tap, '--disable-coverage', ...TESTS], {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${dirname(path)}${delimiter}${process.env.PATH}` },
  })
  const [code] = await once(child, 'exit')
  return code === 0
}

const asked = process.argv.slice(2)
const wrong = asked.find(release => !/^\d{2}(?:\.\d+){0,2}$/.test(release))
if (wrong !== undefined) throw new Error(`"${wrong}" is not a release of Node, like 24 or 20.19`)
for (const release of asked.length === 0 ? RELEASES : asked)
  if (!(await passes(await nodeOf(release)))) process.exitCode = 1
