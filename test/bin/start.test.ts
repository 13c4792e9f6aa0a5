import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryDirectory } from '../helper.ts'
import { buildProgram, Program } from './program.ts'

/** Which a start would wait for. */
const ON_DEMAND = ['@opentelemetry/api', 'ajv', 'fast-json-stringify-compiler', 'prom-client', 'qs']

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
  const program = new Program('--require', { args: [probe, path, 'serve'], env: { PORT: '0' }, cwd })
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

t.test('the rest is loaded when it is asked for', async t => {
  const loaded = await loadedAfter(t, async url => {
    t.match(await (await fetch(`${url}/metrics`)).text(), /frequency_ready 1/)
    const body = new URLSearchParams({ event: 'e' })
    const headers = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }
    t.equal((await fetch(`${url}/api/t`, { method: 'POST', headers, body })).status, 200)
    t.equal((await fetch(`${url}/v1/projects/key/settings`)).status, 200)
  })
  t.same(loaded, ['@opentelemetry/api', 'ajv', 'prom-client', 'qs'])
})
