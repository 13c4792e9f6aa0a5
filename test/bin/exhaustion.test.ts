/** The built program without free file descriptors. */
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { configOf, range, temporaryDirectory } from '../helpers/helper.ts'
import { until } from '../services/wait.ts'
import { archivedObjects, numbersIn } from './archived.ts'
import { buildProgram, startProgram } from './program.ts'

const WAIT_MS_MAX = 60_000
/** Limit of file descriptors. The program needs most of them while it loads its modules, and some 40 afterwards. */
const FILES_MAX = 300
const FLOOD = 800
const PAD = 'x'.repeat(60_000)

const path = await buildProgram(t)

/** Posts numbered events on one open connection. */
class Client {
  readonly taken: number[] = []
  readonly statuses = new Set<number | string>()
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  readonly #url: string
  #next = 0

  constructor(t: Test, url: string) {
    this.#url = url
    t.teardown(() => this.#agent.destroy())
  }

  async post(count: number): Promise<void> {
    for (const _ of range(count)) {
      const n = this.#next++
      const status = await this.#send(n).catch(error => (error as NodeJS.ErrnoException).code ?? 'error')
      this.statuses.add(status)
      if (status === 200) this.taken.push(n)
    }
  }

  async health(): Promise<string> {
    return (await this.#ask('GET', '/healthz', '')).body
  }

  async #send(n: number): Promise<number> {
    return (await this.#ask('POST', '/api/t', JSON.stringify({ event: 'counted', n, pad: PAD }))).status
  }

  #ask(method: string, path: string, body: string): Promise<{ status: number; body: string }> {
    const headers = { 'content-type': 'application/json', 'content-length': body.length }
    return new Promise((resolve, reject) => {
      const sent = request(this.#url + path, { method, agent: this.#agent, headers }, response => {
        text(response).then(answer => resolve({ status: response.statusCode ?? 0, body: answer }), reject)
      })
      sent.on('error', reject).end(body)
    })
  }
}

function flood(t: Test, port: number): Socket[] {
  const sockets = range(FLOOD).map(() => {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    socket.write('GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n')
    return socket.resume()
  })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  return sockets
}

t.test('without free file descriptors the server continues, and loses no accepted event', async t => {
  const cwd = temporaryDirectory(t)
  // Small segments and batches, so that both need new files all the time.
  const env = { PORT: '0', SPOOL_BYTES_MAX: '2MiB', BATCH_EVENTS_MAX: '10', BATCH_AGE_MS_MAX: '100' }
  const program = startProgram(t, path, { cwd, env, filesMax: FILES_MAX })
  const url = await program.listening()
  const client = new Client(t, url)
  await client.post(20)
  t.strictSame([...client.statuses], [200])

  const sockets = flood(t, Number(new URL(url).port))
  await until(
    'it has none left',
    WAIT_MS_MAX,
    () => sockets.filter(({ destroyed }) => destroyed).length > 100,
  )
  await client.post(100)
  t.ok(client.statuses.has(503), `answers: ${[...client.statuses]}`)
  t.match(await client.health(), /EMFILE|too many open files/i, '/healthz says what it waits for')

  for (const socket of sockets) socket.destroy()
  const after = new Client(t, url)
  await until('a new connection is served', WAIT_MS_MAX, async () => {
    await after.post(1)
    return after.taken.length > 0
  })
  client.statuses.clear()
  await until('everything is taken again', WAIT_MS_MAX, async () => {
    client.statuses.clear()
    await client.post(20)
    return [...client.statuses].join() === '200'
  })
  const config = configOf({ DATA_DIR: join(cwd, 'data') })
  const taken = [...after.taken, ...client.taken]
  // The archiver may wait half a minute before it tries again.
  await until('all is archived', WAIT_MS_MAX, async () => {
    return numbersIn(await archivedObjects(config)).length >= taken.length
  })
  t.match(await program.stop(), { code: 0, signal: null })
  const ascending = (numbers: number[]) => numbers.toSorted((a, b) => a - b)
  const archived = numbersIn(await archivedObjects(config))
  t.strictSame(ascending(archived), ascending(taken), `${archived.length} taken, and each archived once`)
})
