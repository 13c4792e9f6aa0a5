/** Does what README.md tells a newcomer to do, and compares the answers that it shows. Only the address is changed. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import { ensureServers } from '../services/install.ts'
import { ROOT } from '../services/program.ts'
import { buildProgram, startProgram } from './program.ts'

const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
const blocks = Array.from(readme.matchAll(/^```sh\n(.*?)^```$/gms), ([, block = '']) => block)
const [start = '', json = '', form = '', batch = '', query = '', files = ''] = blocks
/** Ids and times, which differ from run to run. */
const OWN = /[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z/g

await ensureServers([{ name: 'curl', binaries: ['curl'] }])
const path = await buildProgram(t)
const cwd = temporaryDirectory(t)

/** Runs a block of the README. If its first line begins with `$`, the others are the answer. */
async function run(block: string, url?: string): Promise<{ answer: string; shown: string }> {
  const [, command, shown = ''] = /^\$ (.*?)\n(.*)$/s.exec(block) ?? [undefined, block]
  const here = command.replaceAll('npx frequency', `'${process.execPath}' '${path}'`)
  const script = url === undefined ? here : here.replaceAll('http://127.0.0.1:4000', url)
  const env = { PATH: process.env.PATH }
  const { stdout } = await promisify(execFile)('sh', ['-ec', script], { cwd, env })
  return { answer: stdout, shown }
}

t.test('a newcomer starts it, sends events, stops it and reads them', async t => {
  t.equal(blocks.length, 6, 'all blocks are run')
  const [install, command = ''] = start.trim().split(' && npx frequency ')
  t.equal(install, 'npm ci')
  const args = command.split(' ')
  const server = startProgram(t, path, { cwd, args, env: { PORT: '0' } })
  const url = await server.listening()
  t.match(server.output, /curl/, 'it prints a command to try')

  t.match((await run(json, url)).answer, /^HTTP\/1.1 200 OK\r\n.*^frequency-ack: disk\r\n/ms)
  t.equal((await run(form, url)).answer, '200')
  const { answer, shown } = await run(batch, url)
  t.equal(answer.trim(), shown.trim())
  t.equal((await server.stop()).code, 0, 'the open batch is archived')

  const counted = await run(query)
  t.equal(trimmed(counted.answer), trimmed(counted.shown))
  const found = await run(files)
  t.equal(found.answer.replaceAll(OWN, 'X'), found.shown.replaceAll(OWN, 'X'))
})

function trimmed(table: string): string {
  return table.trimEnd().replaceAll(/ +$/gm, '')
}
