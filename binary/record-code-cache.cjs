/**
 * Runs the bundled program as a server, uses it, and writes what V8 has compiled to `program.cache`.
 *
 *     node binary/record-code-cache.cjs DIRECTORY PORT
 *
 * DIRECTORY has the assets of the executable, by the names in `assets.json`. Run it by the Node that the executable is
 * made of, in an empty directory.
 */
const { readFileSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const sea = require('node:sea')
const { setTimeout: delay } = require('node:timers/promises')
const { Script } = require('node:vm')

const LISTENS_MS_MAX = 60_000

const [, , directory, port] = process.argv
const url = `http://127.0.0.1:${port}`
const assets = JSON.parse(readFileSync(join(directory, 'assets.json'), 'utf8'))
process.argv = [process.execPath, process.execPath, 'serve', `--port=${port}`]

/** As in the executable. */
function requireInExecutable(name) {
  if (name !== 'node:sea') return require(name)
  return { ...sea, isSea: () => true, getRawAsset: asset => readFileSync(assets[asset]) }
}

async function listening() {
  for (const end = Date.now() + LISTENS_MS_MAX; Date.now() < end; await delay(20)) {
    const response = await fetch(`${url}/readyz`).catch(() => undefined)
    if (response?.ok) return
  }
  throw new Error('The program does not listen.')
}

async function use() {
  for (const path of ['/', '/healthz', '/metrics', '/documentation/json']) await fetched(path, {})
  const headers = { 'content-type': 'application/json' }
  await fetched('/api/t', { method: 'POST', headers, body: '{"event":"recorded"}' })
  const body = '{"type":"track","event":"recorded","userId":"42"}'
  await fetched('/v1/track', { method: 'POST', headers, body })
}

async function fetched(path, options) {
  const response = await fetch(url + path, options)
  await response.arrayBuffer()
  if (!response.ok) throw new Error(`${path} was answered with ${response.status}.`)
}

async function record() {
  const source = readFileSync(assets['program.cjs'], 'latin1')
  const script = new Script(source, { filename: 'frequency.cjs' })
  script.runInThisContext()(requireInExecutable, module, exports, __filename, __dirname)
  await listening()
  await use()
  writeFileSync(join(directory, 'program.cache'), script.createCachedData())
  process.exit(0)
}

record().catch(error => {
  process.stderr.write(`${error.stack}\n`)
  process.exit(1)
})
