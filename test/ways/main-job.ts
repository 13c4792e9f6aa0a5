/** The main job, the same for each way to start frequency: events in, a kill, a stop, and an archive that is exact. */
import { randomUUID } from 'node:crypto'
import { Agent } from 'node:http'
import type { Test } from 'tap'
import { post } from '../helpers/post.ts'
import type { Program } from '../services/program.ts'

const CLIENTS = 20
const POSTS = 1_000
const BATCH = 200
const REPEATED = 100
const AFTER_KILL = 50
const LEFT_OPEN = 7
const JSON_TYPE = { contentType: 'application/json' }
const FORM_TYPE = { contentType: 'application/x-www-form-urlencoded' }
const PATHS = ['/', '/readyz', '/healthz', '/metrics', '/documentation/json']
const COUNT = 'select count(*) as events, count(distinct message_id) as ids from events'
/** Large enough that the kill finds a batch that is open. */
const SETTINGS = { BATCH_EVENTS_MAX: '400', BATCH_AGE_MS_MAX: '60000' }
const END_MS_MAX = 60_000

/** How one way starts the program. All starts of a way have the same data and the same archive. */
export interface Way {
  /** One word for the report: binary, image, … */
  readonly name: string
  /** Path before all routes. @default none */
  readonly prefix?: string
  /** What answers GET with 200. @default also the live page */
  readonly paths?: readonly string[]
  /** Starts a server with `['serve']`, else runs a command. */
  start(args: readonly string[], env?: NodeJS.ProcessEnv): Program
  /** Resolves to the URL of the server, without the prefix. @default what the program prints */
  listening?(server: Program): Promise<string>
  /** Kills the server, and whatever runs it. @default SIGKILL to the process */
  kill?(server: Program): Promise<unknown>
}

/** @returns a line for the report */
export async function mainJob(t: Test, way: Way): Promise<string> {
  const sent = new Sender(t, way)
  const first = way.start(['serve'], { PORT: '0', ...SETTINGS })
  const url = await listening(way, first)
  const startedMs = Date.now() - first.startedAt
  for (const path of way.paths ?? PATHS)
    t.equal((await fetch(`${url}${path}`)).status, 200, `${way.name}: GET ${path}`)
  await sent.posts(url, POSTS)
  await sent.batch(url, BATCH)
  await sent.segmentCall(url)
  await sent.repeated(url, REPEATED)
  await (way.kill ?? killed)(first)

  const second = way.start(['serve'], { PORT: '0', ...SETTINGS })
  const again = await listening(way, second)
  await sent.posts(again, AFTER_KILL + LEFT_OPEN)
  const stoppedAt = Date.now()
  t.equal((await second.stop()).code, 0, `${way.name}: SIGTERM ends it with 0`)
  const stopMs = Date.now() - stoppedAt

  const verified = await command(t, way, ['verify', '--json'])
  t.match(JSON.parse(verified), { result: 'clean' }, `${way.name}: verify`)
  const [counted] = JSON.parse(await command(t, way, ['query', COUNT, '--format=json']))
  t.same(counted, { events: sent.count, ids: sent.count }, `${way.name}: each event is archived once`)
  return (
    `${way.name}: ${sent.count} events were answered with 200, ${counted.events} are archived, ${counted.ids} with ` +
    `different ids; ready after ${startedMs} ms, stopped after ${stopMs} ms`
  )
}

async function listening(way: Way, server: Program): Promise<string> {
  const url = await (way.listening?.(server) ?? server.listening())
  return `${url}${way.prefix ?? ''}`
}

async function killed(server: Program): Promise<void> {
  await server.kill('SIGKILL').ended
}

async function command(t: Test, way: Way, args: readonly string[]): Promise<string> {
  const program = way.start(args)
  const { code } = await program.endsWithin(END_MS_MAX)
  t.equal(code, 0, `${way.name}: ${args[0]} ends with 0${code === 0 ? '' : `: ${program.output}`}`)
  return program.stdout
}

/** Sends events as clients do, and counts those that were answered with 200. */
class Sender {
  count = 0
  readonly #t: Test
  readonly #way: string
  readonly #agent = new Agent({ keepAlive: true })
  readonly #repeatedIds = Array.from({ length: REPEATED }, () => randomUUID())

  constructor(t: Test, { name }: Way) {
    this.#t = t
    this.#way = name
    t.teardown(() => this.#agent.destroy())
  }

  /** Forms, from several clients at once. */
  async posts(url: string, count: number): Promise<void> {
    let left = count
    const client = async (): Promise<void> => {
      while (left-- > 0) {
        const form = `event=counted&user_id=${left}&properties[plan]=pro`
        await this.#send(`${url}/api/t`, form, FORM_TYPE)
        this.count++
      }
    }
    await Promise.all(Array.from({ length: CLIENTS }, client))
  }

  async batch(url: string, count: number): Promise<void> {
    const events = Array.from({ length: count }, (_, n) => ({ event: 'listed', user_id: n }))
    await this.#send(`${url}/api/t/batch`, JSON.stringify(events), JSON_TYPE)
    this.count += count
  }

  async segmentCall(url: string): Promise<void> {
    await this.#send(`${url}/v1/track`, '{"type":"track","event":"bought","userId":"42"}', JSON_TYPE)
    this.count++
  }

  /** Each of `count` events twice, as a client whose answer was lost. */
  async repeated(url: string, count: number): Promise<void> {
    for (const messageId of [...this.#repeatedIds, ...this.#repeatedIds])
      await this.#send(`${url}/api/t`, JSON.stringify({ event: 'repeated', messageId }), JSON_TYPE)
    this.count += count
  }

  async #send(url: string, body: string, type: { contentType: string }): Promise<void> {
    const status = await post(url, body, { ...type, agent: this.#agent })
    if (status !== 200) this.#t.fail(`${this.#way}: ${url} answered with ${status}`)
  }
}
