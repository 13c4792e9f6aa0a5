/** The npm package: what is in it, and that it installs and runs in an empty directory. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { freePort } from '../services/ports.ts'
import { programIn, ROOT } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { exampleOf, install, PACKAGE_NAME, pack, run } from './packed.ts'
import { startProgram } from './program.ts'

/** All files that the package may have. */
const FILES = [
  /^(?:package\.json|README\.md|LICENSE|CHANGELOG\.md)$/,
  /^dist\/bin\/frequency\.js$/,
  /^dist\/plugins\/frequency\.js$/,
  /^dist\/chunks\/[\w-]+-[A-Z0-9]{8}\.js$/,
  /^dist\/ui\/[\w-]+\.(?:html|css|js|svg)$/,
  /^dist\/types\/(?:plugins|src\/\w+)\/[\w-]+\.d\.ts$/,
]
const PACKED_BYTES_MAX = 1024 * 1024

const packed = await pack(t)
const { files, size } = packed
// Without the optional DuckDB, which has more than 100 MB.
const directory = await install(t, packed, ['--omit=optional'])
const installed = join(directory, 'node_modules', PACKAGE_NAME)

const post = async (url: string, body: object): Promise<number> => {
  const headers = { 'content-type': 'application/json' }
  return (await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })).status
}

t.test('the package has no file that only developers need', async t => {
  t.same(
    files.filter(file => !FILES.some(pattern => pattern.test(file))),
    [],
  )
  for (const pattern of FILES)
    t.ok(
      files.some(file => pattern.test(file)),
      String(pattern),
    )
  t.ok(files.includes('LICENSE'))
  t.ok(size < PACKED_BYTES_MAX, `${size} bytes`)
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
  t.equal(manifest.private, undefined)
  t.equal(manifest.license, 'MIT')
})

t.test('the command is frequency', async t => {
  const { stdout } = await run('npx', ['--no-install', 'frequency', '--version'], directory)
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  t.equal(stdout.trim(), version)
})

t.test('the program serves, archives, and verifies, with the plugin of docs/plugins.md', async t => {
  const cwd = join(directory, 'program')
  mkdirSync(cwd)
  writeFileSync(join(cwd, 'mine.mjs'), exampleOf('docs/plugins.md', 'mine.mjs'))
  const path = programIn(join(installed, 'dist'))
  const server = startProgram(t, path, { cwd, env: { PORT: '0', PLUGINS: './mine.mjs' } })
  const url = await server.listening()
  t.equal(await post(`${url}/api/t`, { event: 'packed' }), 200)
  t.equal((await fetch(`${url}/`)).status, 200, 'the live page is in the package')
  t.equal((await fetch(`${url}/documentation/json`)).status, 200)
  t.equal((await server.stop()).code, 0)
  const verify = startProgram(t, path, { cwd, args: ['verify', '--json'] })
  t.equal((await verify.endsWithin(30_000)).code, 0, verify.output)
  const { stdout } = await run('sh', ['-c', 'zcat $(find data/archive -name "batch_*.gz")'], cwd)
  t.match(JSON.parse(stdout), { event: 'packed', is_bot: false })
})

t.test('the example of docs/embedding.md runs, and archives when it is stopped', async t => {
  const cwd = directory
  writeFileSync(join(cwd, 'server.mjs'), exampleOf('docs/embedding.md', 'server.mjs'))
  const port = await freePort()
  const env = { PORT: String(port) }
  const server = startProgram(t, join(cwd, 'server.mjs'), { args: [], cwd, env })
  const url = `http://127.0.0.1:${port}`
  await until('the example listens', 30_000, () =>
    fetch(url).then(
      ({ ok }) => ok,
      () => server.hasEnded,
    ),
  )
  t.same(await (await fetch(url)).json(), { hello: 'world' })
  t.equal(await post(`${url}/events/api/t`, { event: 'embedded' }), 200)
  t.equal((await server.stop()).code, 0, server.output)
  const { stdout } = await run('sh', ['-c', 'zcat $(find data/archive -name "batch_*.gz")'], cwd)
  t.match(JSON.parse(stdout), { event: 'embedded' })
})

t.test('CommonJS can load it', async t => {
  const script = `console.log(typeof require('${PACKAGE_NAME}').default)`
  const { stdout } = await run(process.execPath, ['-e', script], directory)
  t.equal(stdout.trim(), 'function')
})

t.test('its types know the options, and what the plugin adds', async t => {
  const use = `
import Fastify from 'fastify'
import frequency, { type FrequencyOptions } from '${PACKAGE_NAME}'
const options: FrequencyOptions = { batchAgeMsMax: '2s', batchEventsMax: 10, role: 'all' }
// @ts-expect-error
const wrongRole: FrequencyOptions = { role: 'none' }
// @ts-expect-error
const ofTheServer: FrequencyOptions = { port: 1 }
const app = Fastify()
app.register(frequency, {
  ...options,
  prefix: '/events',
  enrich: async (event, { source }) => ({ name: event.event, source: source?.name }),
  register: [async scope => scope.enrich(() => ({ ready: scope.readiness.report().ready }))],
})
// @ts-expect-error
app.register(frequency, { prefix: 1 })
export { app, ofTheServer, wrongRole }
`
  writeFileSync(join(directory, 'use.mts'), use)
  const config = {
    compilerOptions: {
      module: 'nodenext',
      target: 'es2023',
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      types: ['node'],
      typeRoots: [join(ROOT, 'node_modules/@types')],
    },
    files: ['use.mts'],
  }
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(config))
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  const checked = await run(process.execPath, [tsc, '-p', directory], directory).catch(error => error)
  t.equal(checked.stdout, '')
  rmSync(join(directory, 'use.mts'))
})
