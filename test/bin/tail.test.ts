import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { freePort } from '../services/ports.ts'
import type { Program } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { archivedObjects } from './archived.ts'
import { buildProgram, startProgram } from './program.ts'

const END_MS_MAX = 60_000
const SHOWN_MS_MAX = 60_000
const TOKEN = 'a-token-of-some-length'

const path = await buildProgram(t)

function run(
  t: Test,
  args: string[],
  env: Record<string, string> = {},
  cwd = temporaryDirectory(t),
): Program {
  return startProgram(t, path, { cwd, args, env })
}

async function serve(
  t: Test,
  env: Record<string, string> = {},
  cwd = temporaryDirectory(t),
): Promise<string> {
  return await run(t, ['serve', '--port=0'], env, cwd).listening()
}

/** Starts `frequency tail`. Resolves when it is connected. */
async function tail(t: Test, args: string[], env: Record<string, string> = {}): Promise<Program> {
  const program = run(t, ['tail', ...args], env)
  await program.says(/Ctrl-C/)
  return program
}

async function post(url: string, json: string): Promise<void> {
  await fetch(`${url}/api/t`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: json })
}

t.test('shows events as they come, and ends with code 0 on Ctrl-C; all are archived', async t => {
  const cwd = temporaryDirectory(t)
  const server = run(t, ['serve', '--port=0'], {}, cwd)
  const url = await server.listening()
  const program = await tail(t, ['--url', url])
  await post(url, '{"event":"signed_up","user_id":"42","n":12345678901234567890}')
  await program.says(/^\d\d:\d\d:\d\d {2}signed_up {2}\{"user_id":"42","n":12345678901234567890\}\n/)
  await post(url, '{"event":"a\\u001b[2J","x":"\u009b2J"}')
  await program.says(/a\\u001b\[2J {2}\{"x":"\\u009b2J"\}\n/)
  await post(url, '{"event":"b\u202eoh","type":"page"}')
  await program.says(/b\\u202eoh {2}\{"type":"page"\}\n/)
  await fetch(`${url}/v1/page`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"userId":"42","name":"Home"}',
  })
  await program.says(/ {2}page Home {2}\{"userId":"42","name":"Home",.*"type":"page"/)
  t.match(await program.kill('SIGINT').endsWithin(END_MS_MAX), { code: 0, signal: null })
  await post(url, '{"event":"after"}')
  t.match(await server.stop(), { code: 0 })
  const objects = await archivedObjects(configOf({ DATA_DIR: join(cwd, 'data') }))
  t.strictSame(
    objects.flatMap(({ lines }) => lines.map(line => JSON.parse(line).event)),
    ['signed_up', 'a\u001b[2J', 'b\u202eoh', undefined, 'after'],
  )
})

t.test('--json prints only events, as they are archived; --filter shows matching ones', async t => {
  const url = await serve(t)
  const json = await tail(t, ['--url', `${url}/`, '--json'])
  const filtered = await tail(t, ['--url', url, '--json', '--filter', 'properties.plan=pro'])
  await post(url, '{"event":"a","properties":{"plan":"free"}}')
  await post(url, '{ "event":"b", "properties":{"plan":"pro"},"n":1.50 }')
  await filtered.says(/"b"/)
  await json.says(/"b"/)
  const lines = json.stdout.trimEnd().split('\n')
  t.equal(lines.length, 2)
  t.match(
    lines[1],
    /^\{ "event":"b", "properties":\{"plan":"pro"\},"n":1\.50 ,"messageId":"[^"]+","receivedAt":"[^"]+"\}$/,
  )
  t.equal(filtered.stdout.trimEnd(), lines[1])
})

t.test('finds the server by PORT, and sends UI_TOKEN', async t => {
  const port = String(await freePort())
  const server = run(t, ['serve'], { PORT: port, UI_TOKEN: TOKEN })
  await server.listening()
  const program = await tail(t, ['--port', port, '--ui-token', TOKEN], { PORT: '1' })
  const locked = run(t, ['tail'], { PORT: port })
  t.match(await locked.endsWithin(END_MS_MAX), { code: 2 })
  t.match(locked.stderr, /^frequency: \S+ refuses: .*UI_TOKEN[^\n]*\n$/)

  await server.stop()
  t.match(await program.endsWithin(END_MS_MAX), { code: 2 })
  t.match(program.stderr, /has ended the connection\.\n$/)
})

t.test('reports an error in one line', async t => {
  const server = createServer((_, response) => response.writeHead(500).end('what?')).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await until('it listens', SHOWN_MS_MAX, () => server.listening)
  const other = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const off = await serve(t, { UI: 'off' })
  const on = await serve(t)
  const wrong: [args: string[], says: RegExp][] = [
    [['--url', `http://127.0.0.1:${await freePort()}`], /cannot be reached: .*ECONNREFUSED/],
    [['--url', 'http://nowhere.invalid:4000'], /cannot be reached/],
    [['--url', off], /shows no events/],
    [['--url', other], /is not a frequency server/],
    [['--url', 'ftp://localhost:4000'], /--url must be/],
    [['--url', `localhost:${await freePort()}`], /http:\/\/localhost:\d+ cannot be reached/],
    [['--port', String(await freePort())], /cannot be reached/],
    [['--port', '0'], /PORT is 0/],
    [['--url', on, '--filter', '=a'], /A filter is/],
  ]
  for (const [args, says] of wrong) {
    const program = run(t, ['tail', ...args])
    t.match(await program.endsWithin(END_MS_MAX), { code: 2 }, args.join(' '))
    t.match(program.stderr, /^frequency: [^\n]+\n$/)
    t.match(program.stderr, says)
    t.equal(program.stdout, '')
  }
})

t.test('ends when the reader of its output closes the pipe', async t => {
  const url = await serve(t)
  const program = await tail(t, ['--url', url, '--json'])
  program.closeStdout()
  await until('it has ended', SHOWN_MS_MAX, async () => {
    await post(url, '{"event":"a"}')
    return program.hasEnded
  })
  t.match(await program.ended, { code: 141, signal: null })
  t.notMatch(program.stderr, /EPIPE/)
})
