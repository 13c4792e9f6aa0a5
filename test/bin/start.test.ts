import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import type { Program } from '../services/program.ts'
import { buildProgram, startProgram } from './program.ts'

/** Packages that a start must not load. */
const ON_DEMAND = ['@opentelemetry/api', 'ajv', 'avsc', 'fast-json-stringify-compiler', 'prom-client', 'qs']

const path = await buildProgram(t)

/** The packages that the program has loaded when it ends. */
async function loadedAfter(t: Test, use: (url: string) => Promise<void>): Promise<string[]> {
  const cwd = temporaryDirectory(t)
  const probe = join(cwd, 'probe.cjs')
  writeFileSync(
    probe,
    `process.on('exit', () => fs.writeFileSync('loaded', Object.keys(require.cache).join('\\n')))
     const fs = require('node:fs')`,
  )
  const program = startProgram(t, path, { nodeArgs: ['--require', probe], env: { PORT: '0' }, cwd })
  try {
    await use(await program.listening())
  } finally {
    t.equal((await program.stop()).code, 0)
  }
  const loaded = readFileSync(join(cwd, 'loaded'), 'utf8')
  return ON_DEMAND.filter(name => loaded.includes(`/${name}/`))
}

t.test('a start loads only what every process needs', async t => {
  const loaded = await loadedAfter(t, async url => {
    t.equal((await fetch(`${url}/healthz`)).status, 200)
    t.equal((await fetch(`${url}/readyz`)).status, 200)
    const headers = { 'content-type': 'application/json' }
    t.equal((await fetch(`${url}/api/t`, { method: 'POST', headers, body: '{"event":"e"}' })).status, 200)
  })
  t.same(loaded, [])
})

t.test('optional parts are loaded at their first use', async t => {
  const loaded = await loadedAfter(t, async url => {
    t.match(await (await fetch(`${url}/metrics`)).text(), /frequency_ready 1/)
    const body = new URLSearchParams({ event: 'e' })
    const headers = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }
    t.equal((await fetch(`${url}/api/t`, { method: 'POST', headers, body })).status, 200)
    t.equal((await fetch(`${url}/v1/projects/key/settings`)).status, 200)
  })
  t.same(loaded, ['@opentelemetry/api', 'ajv', 'prom-client', 'qs'])
})

/** @returns our source files that the program has loaded when it ends */
async function sourcesLoaded(
  t: Test,
  args: string[],
  env: Record<string, string>,
  use: (program: Program) => Promise<unknown>,
): Promise<string[]> {
  const cwd = temporaryDirectory(t)
  const probe = join(cwd, 'probe.cjs')
  const hooks = `import { appendFileSync } from 'node:fs'
     export function load(url, context, next) { appendFileSync('loaded', url + '\\n'); return next(url, context) }`
  writeFileSync(
    probe,
    `require('node:module').register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hooks)}))`,
  )
  const program = startProgram(t, path, {
    nodeArgs: ['--require', probe],
    args,
    env: { PORT: '0', ...env },
    cwd,
  })
  await use(program)
  const files = readFileSync(join(cwd, 'loaded'), 'utf8').split('\n')
  const ours = files.filter(url => url.startsWith('file:') && url.endsWith('.js') && url.includes('/dist/'))
  const texts = ours.map(url => readFileSync(new URL(url), 'utf8'))
  return texts.flatMap(text => text.match(/(?<=^\/\/ )(?:bin|plugins|src)\/\S+\.ts$/gm) ?? []).sort()
}

t.test('processes that archive nothing load neither archiver nor log', async t => {
  const isOfArchive = (file: string) => /^src\/(?:log\/|dedupe\/|archive\/archiver)/.test(file)
  const serveAndStop = async (program: Program) => {
    await program.listening()
    t.equal((await program.stop()).code, 0)
  }
  const broker = { AMQP_URL: 'amqp://127.0.0.1:1', ROLE: 'ingest' }
  const ingest = await sourcesLoaded(t, ['serve'], broker, serveAndStop)
  t.ok(ingest.includes('src/event/event.ts'), 'it is seen what is loaded')
  t.strictSame(ingest.filter(isOfArchive), [])
  const help = await sourcesLoaded(t, ['--help'], {}, program => program.ended)
  t.ok(help.includes('bin/frequency.ts'))
  t.strictSame(help.filter(isOfArchive), [])
  const all = await sourcesLoaded(t, ['serve'], {}, serveAndStop)
  t.ok(all.includes('src/log/log-record.ts'))
})
