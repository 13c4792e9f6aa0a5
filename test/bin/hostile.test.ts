/**
 * The built program under hostile and broken requests, with well-behaved clients beside them. Each request has a mark,
 * by which answered and archived events are counted.
 *
 * FUZZ_SEED repeats the same requests. FUZZ_S is the duration in seconds.
 */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { configOf, createRandom, range, temporaryDirectory } from '../helpers/helper.ts'
import { type Attack, BATCH_BODY_BYTES_MAX, BODY_BYTES_MAX, randomAttack } from '../hostile/attack.ts'
import { type Answer, answersTo } from '../hostile/attacker.ts'
import { archivedObjects } from './archived.ts'
import { buildProgram, startProgram } from './program.ts'

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 1e9)
const ATTACK_MS = Number(process.env.FUZZ_S ?? 15) * 1_000
const WARM_UP_MS = ATTACK_MS / 3
const ATTACKERS = 24
const IDLE_CONNECTIONS = 1_000
const SLOW_CONNECTIONS = 30
const REQUEST_MS_MAX = 1_000
/** REQUEST_MS_MAX, and the second in which the server looks for such connections; the rest is for a busy machine. */
const CLOSED_MS_MAX = REQUEST_MS_MAX + 19_000
const GOOD_ANSWER_MS_MAX = 5_000
const GOOD_PAUSE_MS = 5
/** Growth of memory after the warm-up. Memory must not depend on the duration of the attack. */
const GROWTH_BYTES_MAX = 64 * 1024 * 1024
const MEMORY_BYTES_MAX = 400 * 1024 * 1024
const KEY = /^frequency\/dt=\d{4}-\d\d-\d\d\/hour=\d\d\/batch_\d{8}T\d{9}Z_[0-9a-f]+\.ndjson\.gz$/
const DOCUMENTED = new Set([400, 404, 405, 413, 415, 431, 503])

/** @returns the answer if it is not one that the program should give, else undefined */
function flawOf({ status, headers, body }: Answer): string | undefined {
  if (status === 100) return undefined
  const said = `${status} ${JSON.stringify(headers)} ${body}`
  try {
    if (status === 200 && headers['content-type']?.startsWith('text/plain'))
      return body === '200' && headers['frequency-ack'] === 'disk' ? undefined : said
    const json = JSON.parse(body)
    const keys = Object.keys(json).sort().join()
    if (status === 200)
      return keys === 'role,status,waitingFor' || keys === 'accepted,refused' ? undefined : said
    const isRefusal =
      DOCUMENTED.has(status) &&
      json.statusCode === status &&
      /^(FRQ|FST_ERR)_[A-Z_]+$/.test(json.code) &&
      typeof json.message === 'string' &&
      /^code,error,message(,refused)?,statusCode$/.test(keys)
    return isRefusal ? undefined : said
  } catch {
    return said
  }
}

/** @returns the number of events that these answers report as taken */
function takenBy(answers: readonly Answer[]): number {
  return answers.reduce((sum, { status, body, headers }) => {
    if (status !== 200) return sum
    if (headers['content-type']?.startsWith('text/plain')) return sum + 1
    return sum + (JSON.parse(body).accepted ?? 0)
  }, 0)
}

interface Outcome {
  readonly attack: Attack
  readonly taken: number
}

class Siege {
  readonly outcomes: Outcome[] = []
  readonly flaws: string[] = []
  readonly #port: number
  readonly #endsAt: number
  readonly #random = createRandom(SEED)
  #next = 0

  constructor(port: number, endsAt: number) {
    this.#port = port
    this.#endsAt = endsAt
  }

  async run(): Promise<void> {
    await Promise.all(range(ATTACKERS).map(() => this.#attackUntilTheEnd()))
  }

  async #attackUntilTheEnd(): Promise<void> {
    while (performance.now() < this.#endsAt) {
      const number = this.#next++
      const attack = randomAttack(this.#random, number)
      const answers = await answersTo(this.#port, attack, CLOSED_MS_MAX)
      const flaws = answers === undefined ? ['it is neither answered nor closed'] : answers.map(flawOf)
      for (const flaw of flaws) if (flaw !== undefined) this.flaws.push(`${number}, ${attack.name}: ${flaw}`)
      this.outcomes.push({ attack, taken: takenBy(answers ?? []) })
    }
  }
}

/** Posts events one after the other, and records failures and the longest duration. */
class GoodClient {
  readonly failures: string[] = []
  taken = 0
  slowestMs = 0
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  readonly #url: string
  readonly #name: string

  constructor(url: string, name: string) {
    this.#url = `${url}/api/t`
    this.#name = name
  }

  async run(endsAt: number): Promise<void> {
    while (performance.now() < endsAt) {
      const startedAt = performance.now()
      const status = await this.#post().catch(error => (error as Error).message)
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startedAt)
      if (status === 200) this.taken++
      else this.failures.push(String(status))
      await delay(GOOD_PAUSE_MS)
    }
    this.#agent.destroy()
  }

  #post(): Promise<number | undefined> {
    const headers = { 'content-type': 'application/json' }
    return new Promise((resolve, reject) => {
      const sent = request(this.#url, { method: 'POST', agent: this.#agent, headers }, response => {
        response.on('error', reject).on('end', () => resolve(response.statusCode))
        response.resume()
      })
      sent.on('error', reject).end(`{"event":"good","mark":"${this.#name}"}`)
    })
  }
}

/** Opens connections that are idle, after a first request or from the beginning. */
async function openIdle(t: Test, port: number): Promise<void> {
  const sockets = range(IDLE_CONNECTIONS).map(n => {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    if (n % 2 === 0) socket.write('GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n')
    return socket.resume()
  })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  await Promise.all(sockets.map(socket => new Promise(resolve => socket.once('connect', resolve))))
}

/** Opens connections that send a byte every 100 ms. @returns how many were closed */
async function trickle(port: number, endsAt: number): Promise<number> {
  const bytes = `POST /api/t HTTP/1.1\r\nhost: h\r\ncontent-length: 900\r\n\r\n${'x'.repeat(800)}`
  let closed = 0
  const open = async (): Promise<void> => {
    while (performance.now() < endsAt) {
      const socket: Socket = connect(port, '127.0.0.1').resume()
      socket.on('error', () => {})
      let sent = 0
      const timer = setInterval(() => socket.write(bytes.charAt(sent++)), 100)
      await new Promise(resolve => socket.once('close', resolve))
      clearInterval(timer)
      closed++
    }
  }
  await Promise.all(range(SLOW_CONNECTIONS).map(open))
  return closed
}

/** Resident memory, in bytes; 0 without /proc. */
function memoryOf(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

async function watchMemory(pid: number, endsAt: number): Promise<{ warm: number; most: number }> {
  const warmAt = endsAt - ATTACK_MS + WARM_UP_MS
  let warm = 0
  let most = 0
  while (performance.now() < endsAt) {
    if (performance.now() < warmAt) warm = Math.max(warm, memoryOf(pid))
    most = Math.max(most, memoryOf(pid))
    await delay(100)
  }
  return { warm, most }
}

const path = await buildProgram(t)

t.test('hostile and broken requests do not affect other requests', async t => {
  t.comment(`FUZZ_SEED=${SEED}`)
  const cwd = temporaryDirectory(t)
  const env = {
    PORT: '0',
    LOG_LEVEL: 'fatal',
    REQUEST_MS_MAX: String(REQUEST_MS_MAX),
    BODY_BYTES_MAX: String(BODY_BYTES_MAX),
    BATCH_BODY_BYTES_MAX: String(BATCH_BODY_BYTES_MAX),
  }
  const program = startProgram(t, path, { cwd, env })
  const url = await program.listening()
  const port = Number(new URL(url).port)

  await openIdle(t, port)
  const endsAt = performance.now() + ATTACK_MS
  const siege = new Siege(port, endsAt)
  const good = range(2).map(n => new GoodClient(url, `good-${n}`))
  const [memory, closed] = await Promise.all([
    watchMemory(program.pid, endsAt),
    trickle(port, endsAt),
    siege.run(),
    ...good.map(client => client.run(endsAt)),
  ])

  t.comment(
    `${siege.outcomes.length} requests; ${Math.round(memory.warm / 2 ** 20)} MiB warm, ` +
      `${Math.round(memory.most / 2 ** 20)} MiB at most`,
  )
  t.same(
    siege.flaws.slice(0, 20),
    [],
    `each answer is a documented one, or the connection is closed (seed ${SEED})`,
  )
  t.ok(siege.outcomes.length > 100, `${siege.outcomes.length} requests`)
  t.ok(closed > 0, `${closed} slow connections were closed`)
  t.ok(memory.most - memory.warm < GROWTH_BYTES_MAX && memory.most < MEMORY_BYTES_MAX, 'memory stays flat')
  for (const client of good) {
    t.same(client.failures, [], `each of ${client.taken} good requests gets 200`)
    t.ok(client.slowestMs < GOOD_ANSWER_MS_MAX, `after ${Math.round(client.slowestMs)} ms at most`)
  }
  t.match(await program.stop(), { code: 0, signal: null }, 'and it ends as it should')
  t.notMatch(program.output, /"level":60|Error/, 'it has said nothing')

  const objects = await archivedObjects(configOf({ DATA_DIR: join(cwd, 'data') }))
  for (const { key } of objects) t.match(key, KEY)
  isExactly(
    t,
    objects.flatMap(({ lines }) => lines),
    siege.outcomes,
    good,
  )
})

function isExactly(
  t: Test,
  lines: readonly string[],
  outcomes: readonly Outcome[],
  good: readonly GoodClient[],
): void {
  const archived = new Map<string, number>()
  for (const line of lines) {
    const mark = /"mark":"([^"]*)"/.exec(line)?.[1] ?? 'none'
    archived.set(mark, (archived.get(mark) ?? 0) + 1)
  }
  for (const [n, { taken }] of good.entries()) t.equal(archived.get(`good-${n}`), taken)
  const wrong = outcomes.filter(({ attack: { mark, isMutated, isCut }, taken }) => {
    const count = archived.get(mark) ?? 0
    return isCut ? count > 0 : isMutated ? count > taken : count !== taken
  })
  t.same(
    wrong
      .slice(0, 20)
      .map(({ attack, taken }) => [attack.name, attack.mark, taken, archived.get(attack.mark)]),
    [],
    'what was taken is archived once, and nothing of what was refused',
  )
  const taken = [...outcomes, ...good].reduce((sum, each) => sum + each.taken, 0)
  t.equal(lines.length, taken, `${taken} events`)
}
