/** Runs `frequency replay` of the built program, from archives made by hand, to real servers, a queue and files. */
import { appendFileSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { build, objectOf, openArchive, putObject } from '../helpers/archive-by-hand.ts'
import { configOf, range, temporaryDirectory } from '../helpers/helper.ts'
import type { Program } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { archivedObjects } from './archived.ts'
import { buildProgram, type Run, runProgram, startProgram } from './program.ts'

const WAIT_MS_MAX = 30_000
const END_MS_MAX = 60_000
const START_MS = Date.UTC(2026, 10, 24, 13)

const path = await buildProgram(t)

/** An archive in a directory, of objects with these events. Returns the settings for a command. */
async function archiveOf(t: Test, ...objects: (readonly string[])[]): Promise<Record<string, string>> {
  const archive = await openArchive(t, 'directory')
  for (const events of objects) await putObject(archive, objectOf(events))
  await build(archive, archive.store)
  return { ...archive.settings, DATA_DIR: temporaryDirectory(t) }
}

/** Events a second apart, the last one first in the archive. */
function numbered(count: number): string[] {
  return range(count)
    .map(n => {
      const receivedAt = new Date(START_MS + 1_000 * n).toISOString()
      return JSON.stringify({ event: 'counted', messageId: `m-${n}`, n, receivedAt })
    })
    .reverse()
}

async function replay(t: Test, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Run> {
  return await runProgram(t, path, ['replay', ...args], { ...process.env, ...env })
}

function started(t: Test, args: readonly string[], env: NodeJS.ProcessEnv): Program {
  return startProgram(t, path, {
    args: ['replay', ...args],
    env: { ...process.env, ...env },
    cwd: temporaryDirectory(t),
  })
}

interface Received {
  readonly url: string
  /** Of each request, in the order of their beginning. */
  readonly bodies: string[]
  readonly headers: IncomingMessage['headers'][]
}

/** A server that keeps the bodies of requests. @param answer gets the number of the request, from 0 */
async function receiver(
  t: Test,
  answer: (response: ServerResponse, n: number, body: string) => void = response => response.end('ok'),
): Promise<Received> {
  const bodies: string[] = []
  const headers: IncomingMessage['headers'][] = []
  const server = createServer((request, response) => {
    void text(request).then(body => {
      headers.push(request.headers)
      answer(response, bodies.push(body) - 1, body)
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies, headers }
}

function numbersOf(bodies: readonly string[]): number[] {
  return bodies.flatMap(body => body.split('\n').flatMap(line => (line === '' ? [] : JSON.parse(line).n)))
}

type Fields = Record<string, unknown>

/** A server of frequency with an archive of its own. `archived` stops it, and returns its events by their ids. */
async function server(t: Test, env: Record<string, string> = {}) {
  const settings: Record<string, string> = { DATA_DIR: temporaryDirectory(t), PORT: '0', ...env }
  const program = startProgram(t, path, { env: settings, cwd: temporaryDirectory(t) })
  const url = await program.listening()
  const archived = async (): Promise<Map<unknown, Fields & { line: string }>> => {
    await program.stop()
    const { PORT, ...own } = settings
    const lines = (await archivedObjects(configOf(own))).flatMap(each => each.lines)
    const events = new Map(lines.map(line => [JSON.parse(line).messageId, { ...JSON.parse(line), line }]))
    t.equal(events.size, lines.length, 'each event is archived once')
    return events
  }
  return { url, archived }
}

const AT = '2026-11-24T13:05:07.123Z'
/** Events with all that columns hold, and with what they do not. */
const VARIED = [
  `{"event":"a","messageId":"1","user_id":"u","properties":{"price":1.50,"n":12345678901234567890123},"receivedAt":"${AT}"}`,
  `{"event":"a","messageId":"2","userId":"u","anonymousId":"é\\"\\\\","extra":{"userId":1},"receivedAt":"${AT}"}`,
  `{"event":"a","messageId":"3","type":"track","userId":"u","timestamp":"${AT}","context":{"a":[1e3]},"receivedAt":"${AT}"}`,
  `{"event":"a","messageId":"4","type":"track","userId":"u","user_id":7,"traits":null,"receivedAt":"${AT}"}`,
  `{"event":"a","messageId":"5","user_id":42,"source":"web","timestamp":"2026-11-24T13:05Z","receivedAt":"${AT}"}`,
  `{"event":"a","messageId":"6","type":"track","userId":"u","sentAt":"${AT}","timestamp":"${AT}","originalTimestamp":"${AT}","receivedAt":"${AT}"}`,
]

t.test('events reach a server as they were sent, and what it refuses comes into a file', async t => {
  const refused = `{"messageId":"7","type":"page","userId":"u","receivedAt":"${AT}"}`
  const env = await archiveOf(t, VARIED, [refused])
  const { url, archived } = await server(t)
  const args = [`--to=${url}/api/t/batch`]
  t.match(await replay(t, args, env), {
    code: 1,
    stderr:
      /refuses event 7 \(messageId "7"\): event is required.*--skip-refused[\s\S]*Stopped after 6 events/,
  })
  const file = join(env.DATA_DIR as string, 'refused.ndjson')
  t.match(await replay(t, [...args, `--skip-refused=${file}`], env), {
    code: 0,
    stdout: '',
    stderr: /Goes on after 6 events[\s\S]*DEDUPE_WINDOW_MS[\s\S]*Done: 6 events sent, .* 1 event refused/,
  })
  t.strictSame(JSON.parse(readFileSync(file, 'utf8')), JSON.parse(refused))
  const events = await archived()
  for (const line of VARIED) {
    const { receivedAt, ...sent } = JSON.parse(line)
    const found = events.get(sent.messageId)
    t.match(found, sent)
    t.strictSame(Object.keys(found ?? {}).sort(), [...Object.keys(sent), 'line', 'receivedAt'].sort())
  }
  t.match(events.get('1')?.line, /"price":1\.50,"n":12345678901234567890123\}/)
  t.equal(events.size, VARIED.length)
})

t.test('calls reach a server by /v1/batch, with their own times and a write key', async t => {
  const untyped = `{"event":"b","messageId":"8","user_id":"u8","timestamp":"2026-11-20T00:00:00.000Z","receivedAt":"${AT}"}`
  const typed = VARIED.filter(line => line.includes('"type"'))
  const env = await archiveOf(t, [...typed, untyped])
  const { url, archived } = await server(t, { WRITE_KEYS: 'web=secret-key-0123456789' })
  t.match(await replay(t, [`--to=${url}/v1/batch`], env), { code: 1, stderr: /answers 401: A write key/ })
  const run = await replay(t, [`--to=${url}/v1/batch`, '--write-key=secret-key-0123456789'], env)
  t.match(run, { code: 0, stderr: /Done: 4 events/ })
  t.notMatch(run.stderr, /secret-key/)
  const events = await archived()
  for (const line of typed) {
    const { receivedAt, sentAt, ...sent } = JSON.parse(line)
    t.match(events.get(sent.messageId), sent)
  }
  t.match(events.get('8'), { type: 'track', userId: 'u8', timestamp: '2026-11-20T00:00:00.000Z' })
  t.notOk('user_id' in (events.get('8') as Fields))
  t.equal(events.size, 4)
})

t.test('after a kill only the request on its way is sent again', async t => {
  const env = await archiveOf(t, numbered(60), numbered(0))
  let isStalling = true
  const { url, bodies } = await receiver(t, (response, n) => {
    if (n !== 3 || !isStalling) response.end()
  })
  const checkpoint = `--checkpoint=${join(temporaryDirectory(t), 'checkpoint')}`
  const args = [`--to=${url}/hook`, '--batch-events=10', '--body=ndjson', checkpoint]
  const program = started(t, args, env)
  await until('the fourth request is on its way', WAIT_MS_MAX, () => bodies.length === 4)
  t.match(await replay(t, args, env), { code: 1, stderr: /This replay runs already \(process \d+/ })
  await program.kill('SIGKILL').ended
  isStalling = false
  t.match(await replay(t, args, env), { code: 0, stderr: /Goes on after 30 events[\s\S]*Done: 60 events/ })
  t.strictSame(numbersOf(bodies), [...range(40), ...range(60).slice(30)])

  t.match(await replay(t, args, env), { code: 0, stderr: /is done: 60 events sent.*--restart/ })
  t.equal(bodies.length, 7)
  t.match(await replay(t, [`--to=${url}/other`, checkpoint], env), {
    code: 1,
    stderr: /is of another replay/,
  })
  t.equal(bodies.length, 7)
})

t.test('Ctrl-C lets the request on its way end', async t => {
  const env = await archiveOf(t, numbered(30))
  let finish: (() => void) | undefined
  const { url, bodies } = await receiver(t, (response, n) => {
    if (n === 1) finish = () => response.end()
    else response.end()
  })
  const program = started(t, [`--to=${url}/hook`], env)
  await until('the second request is on its way', WAIT_MS_MAX, () => finish !== undefined)
  program.kill('SIGINT')
  setTimeout(() => finish?.(), 200)
  t.match(await program.endsWithin(END_MS_MAX), { code: 130 })
  t.match(program.stderr, /Stopped after 2 events\. The same command goes on/)
  t.match(await replay(t, [`--to=${url}/hook`], env), { code: 0 })
  t.strictSame(numbersOf(bodies), range(30))
})

t.test('lost answers and a server that is not ready cost no event, and the order stays', async t => {
  const env = await archiveOf(t, numbered(40))
  const taken: string[] = []
  const { url, bodies, headers } = await receiver(t, (response, n, body) => {
    if (n === 1) response.writeHead(503, { 'retry-after': '0' }).end()
    else if (n === 2) response.writeHead(429, { 'retry-after': '0' }).end()
    else if (n === 3) response.writeHead(500).end()
    else {
      taken.push(body)
      if (n === 4) response.destroy()
      else response.end()
    }
  })
  const args = [`--to=${url}/hook?key=hidden`, '--batch-events=10', '--header=X-One: 1']
  const run = await replay(t, args, env)
  t.match(run, { code: 0, stderr: /answers 503\. Trying again[\s\S]*cannot be reached: .*Trying again/ })
  t.notMatch(run.stderr, /hidden/)
  const numbers = taken.map(body => JSON.parse(body).map(({ n }: { n: number }) => n))
  t.strictSame(
    numbers.map(([first]) => first),
    [0, 10, 10, 20, 30],
  )
  t.equal(bodies.length, 8)
  t.match(headers[0], { 'x-one': '1', 'content-type': 'application/json' })
})

t.test('a refusal ends a replay, or is kept; other answers end it always', async t => {
  const env = await archiveOf(t, numbered(20))
  const { url } = await receiver(t, (response, _, body) => {
    if (/"n":7\b/.test(body)) response.writeHead(422).end('no \u001b[31mseven')
    else response.end()
  })
  const args = [`--to=${url}/hook`, '--batch-events=8']
  t.match(await replay(t, args, env), {
    code: 1,
    stderr: /refuses event 8 \(messageId "m-7"\): 422: no \\u001b\[31mseven/,
  })
  const file = join(temporaryDirectory(t), 'refused')
  t.match(await replay(t, [...args, `--skip-refused=${file}`], env), { code: 0 })
  t.strictSame(numbersOf([readFileSync(file, 'utf8')]), [7])

  const moved = await receiver(t, response => response.writeHead(301, { location: '/there' }).end())
  t.match(await replay(t, [`--to=${moved.url}/hook`], env), { code: 1, stderr: /answers 301 to \/there/ })
  const gone = ['--to=http://127.0.0.1:1/hook', '--give-up-after=300ms']
  t.match(await replay(t, gone, env), { code: 1, stderr: /cannot be reached: nothing listens there/ })
})

t.test('--rate bounds the events a second', async t => {
  const env = await archiveOf(t, numbered(15))
  const times: number[] = []
  const { url } = await receiver(t, response => {
    times.push(performance.now())
    response.end()
  })
  t.match(await replay(t, [`--to=${url}/hook`, '--rate=20'], env), { code: 0 })
  t.ok((times.at(-1) as number) - (times[0] as number) >= 650, '14 events after the first, 50 ms each')
})

t.test('a replay into a file goes on after a kill before its first event is in the checkpoint', async t => {
  const env = await archiveOf(t, numbered(30))
  const output = join(temporaryDirectory(t), 'events.ndjson')
  const checkpoint = join(temporaryDirectory(t), 'checkpoint')
  const args = [`--output=${output}`, `--checkpoint=${checkpoint}`]
  const program = started(t, [...args, '--rate=1'], env)
  await until('it has begun', WAIT_MS_MAX, () => existsSync(checkpoint))
  await program.kill('SIGKILL').ended
  appendFileSync(output, '{"event":"cou')
  t.match(await replay(t, args, env), { code: 0, stderr: /Done: 30 events/ })
  t.strictSame(numbersOf([readFileSync(output, 'utf8')]), range(30))
})

t.test('a file has each event once, also after a kill, and events without a time come last', async t => {
  const untimed = ['{"event":"b","messageId":"x"}', '{"event":"b","receivedAt":"yesterday","messageId":"y"}']
  const env = await archiveOf(t, numbered(30), untimed)
  const output = join(temporaryDirectory(t), 'events.ndjson')
  const args = [`--output=${output}`, '--rate=10']
  const program = started(t, args, env)
  await until('the first ten are written', WAIT_MS_MAX, () => existsSync(output) && statSync(output).size > 0)
  await program.kill('SIGKILL').ended
  appendFileSync(output, '{"event":"cou')
  t.match(await replay(t, [args[0] as string], env), { code: 0, stderr: /Done: 32 events/ })
  const lines = readFileSync(output, 'utf8').trimEnd().split('\n')
  t.strictSame(
    lines.map(line => JSON.parse(line)),
    [...numbered(30).reverse(), ...untimed].map(line => JSON.parse(line)),
  )
  t.match(await replay(t, ['--output=-', '--where', "event = 'b'"], env), {
    code: 0,
    stdout: `${lines.slice(-2).join('\n')}\n`,
  })
  t.match(await replay(t, [`--output=${output}`, '--since=2026-11-24'], env), {
    code: 1,
    stderr: /--output: .* has something already/,
  })
})

t.test('a wrong path of a server is told, with the right ones', async t => {
  const env = await archiveOf(t, numbered(2))
  const { url } = await server(t)
  t.match(await replay(t, [`--to=${url}/`], env), {
    code: 1,
    stderr:
      /answers 405: \/ answers GET, HEAD only\. Is the path of --to right\? .* \/api\/t\/batch or \/v1\/batch/,
  })
})

t.test('--dry-run and --where: what would be sent, and nothing is', async t => {
  const env = await archiveOf(t, numbered(20), VARIED)
  const { url, bodies } = await receiver(t)
  const args = [`--to=http://u:pass@${url.slice(7)}/hook?key=hidden`, '--dry-run']
  const run = await replay(t, args, env)
  t.match(run, {
    code: 0,
    stdout: /^Would send 26 events of 2 objects \(1 hour\) to http:\/\/127[^?@]*hook\.\n/,
  })
  t.notMatch(run.stdout + run.stderr, /pass|hidden/)
  const some = [...args, '--where', "user_id = 'u' -- or not", '--until=2026-11-25']
  t.match(await replay(t, some, env), { code: 0, stdout: /^Would send 5 events of 2 objects/ })
  t.match(await replay(t, [...args, '--where', 'true) or (true'], env), {
    code: 1,
    stderr: /--where must be/,
  })
  t.match(await replay(t, ['--dry-run'], env), { code: 2, stderr: /Say where to/ })
  t.equal(bodies.length, 0)
  t.strictSame(readdirSync(join(env.DATA_DIR as string, 'replay')), [], 'no checkpoint is left')
})

t.test('the queue gets events with their own times, unless a server has it', async t => {
  const env = await archiveOf(t, VARIED)
  const other: Record<string, string> = {
    DATA_DIR: temporaryDirectory(t),
    ARCHIVE_URL: temporaryDirectory(t),
  }
  const toOther = { ...env, DATA_DIR: other.DATA_DIR }
  t.match(await replay(t, ['--to=queue'], toOther), {
    code: 0,
    stderr: /adds none of them[\s\S]*Done: 6 events/,
  })
  const { archived } = await server(t, other)
  t.match(await replay(t, ['--to=queue', '--restart'], toOther), {
    code: 2,
    stderr: /is using .*\/api\/t\/batch/,
  })
  const events = await archived()
  for (const line of VARIED) {
    const sent = JSON.parse(line)
    const { line: _, ...found } = events.get(sent.messageId) ?? { line: '' }
    t.strictSame(found, sent)
  }
})

t.test('the archive that is read gets no event twice', async t => {
  const env = await archiveOf(t, numbered(20))
  const { url, archived } = await server(t, { ...env, BATCH_EVENTS_MAX: '5' })
  t.match(await replay(t, [`--to=${url}/api/t/batch`], env), { code: 0, stderr: /Done: 20 events/ })
  const events = await archived()
  t.equal(events.size, 20)
  t.match(events.get('m-3'), { receivedAt: new Date(START_MS + 3_000).toISOString() })
})
