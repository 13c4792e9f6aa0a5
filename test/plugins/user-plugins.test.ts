/** PLUGINS: plugins of users in the program. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createApp } from '../../plugins/app.ts'
import { readConfig } from '../../src/config/config.ts'
import { silent, temporaryDirectory } from '../helpers/helper.ts'
import { parseLines, serveApp } from './served-app.ts'

const PLUGIN = `
export default async function mine(app) {
  app.enrich((event, request) => ({ agent: request.headers['user-agent'], key: request.source?.name }))
  app.get('/mine', async () => ({ queue: app.queue.description, ready: app.readiness.report().ready }))
  app.get('/take', { config: { takesEvents: true } }, async request => ({ by: request.source.name }))
}
`

function fileOf(directory: string, name: string, text: string): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

t.test('a plugin adds a hook and routes, with the decorators of frequency', async t => {
  const path = fileOf(temporaryDirectory(t), 'mine.mjs', PLUGIN)
  const { url, archivedLines } = await serveApp(t, { PLUGINS: path, WRITE_KEYS: 'web=key-of-the-web-page' })
  const headers = {
    'content-type': 'application/json',
    'user-agent': 'test',
    'x-write-key': 'key-of-the-web-page',
  }
  t.match(await (await fetch(`${url}/mine`)).json(), { queue: /disk|directory|embedded/i, ready: true })
  t.equal((await fetch(`${url}/take`)).status, 401, 'a route of a plugin can ask for write keys')
  t.same(await (await fetch(`${url}/take`, { headers })).json(), { by: 'web' })
  const sent = await fetch(`${url}/api/t`, { method: 'POST', headers, body: '{"event":"a"}' })
  t.equal(sent.status, 200)
  t.match(parseLines(await archivedLines()), [{ event: 'a', agent: 'test', key: 'web' }])
})

t.test('several plugins: CommonJS, and compiled from ES syntax', async t => {
  const directory = temporaryDirectory(t)
  const one = fileOf(directory, 'one.cjs', `module.exports = async app => app.enrich(() => ({ one: 1 }))`)
  const two = fileOf(
    directory,
    'two.cjs',
    `exports.__esModule = true; exports.default = (app, _, done) => { app.enrich(() => ({ two: 2 })); done() }`,
  )
  const { url, archivedLines } = await serveApp(t, { PLUGINS: ` ${one}, ${two},` })
  const headers = { 'content-type': 'application/json' }
  await fetch(`${url}/api/t`, { method: 'POST', headers, body: '{"event":"a"}' })
  t.match(parseLines(await archivedLines()), [{ one: 1, two: 2 }])
})

t.test('a package, from the working directory', async t => {
  const directory = temporaryDirectory(t)
  const at = join(directory, 'node_modules', 'my-plugin')
  mkdirSync(at, { recursive: true })
  writeFileSync(join(at, 'package.json'), '{"name":"my-plugin","main":"main.js"}')
  writeFileSync(join(at, 'main.js'), 'module.exports = async app => app.get("/mine", async () => "yes")')
  const before = process.cwd()
  process.chdir(directory)
  t.teardown(() => process.chdir(before))
  const { url } = await serveApp(t, { PLUGINS: 'my-plugin' })
  t.equal(await (await fetch(`${url}/mine`)).text(), 'yes')
})

t.test('a plugin that cannot be loaded is named, with the reason', async t => {
  const directory = temporaryDirectory(t)
  const refused = async (PLUGINS: string, message: RegExp) => {
    const config = readConfig({}, { PLUGINS, DATA_DIR: join(directory, 'data') })
    await t.rejects(createApp(config, silent), { code: 'FRQ_CONFIG_INVALID', message })
  }
  await refused('./nowhere.js', /^PLUGINS: \.\/nowhere\.js cannot be loaded: Cannot find module .* Correct/)
  await refused('no-such-package', /^PLUGINS: no-such-package cannot be loaded: Cannot find module/)
  await refused(fileOf(directory, 'bad.mjs', 'export const a ='), /bad\.mjs cannot be loaded: /)
  await refused(fileOf(directory, 'none.mjs', 'export const a = 1'), /has no function as its default export/)
  const throwing = fileOf(directory, 'throws.mjs', 'export default async () => { throw new Error("mine") }')
  const config = readConfig({}, { PLUGINS: throwing, DATA_DIR: join(directory, 'data') })
  await t.rejects(createApp(config, silent), { message: 'mine' })
})
