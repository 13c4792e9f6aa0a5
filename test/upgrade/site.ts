/** A DATA_DIR, a queue and an archive that both versions use, and the events that were sent to them. */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { archivedObjects, numbersIn } from '../bin/archived.ts'
import { startProgram } from '../bin/program.ts'
import { configOf, range, temporaryDirectory } from '../helpers/helper.ts'
import { post } from '../helpers/post.ts'
import type { Program } from '../services/program.ts'
import { until } from '../services/wait.ts'

const END_MS_MAX = 60_000
const LEFT_MS_MAX = 120_000
const KEY = '0123456789abcdef0123456789abcdef'
const JSON_TYPE = { contentType: 'application/json' }

export interface Versions {
  /** Paths of bin/frequency.js. */
  readonly former: string
  readonly present: string
}

export class Site {
  readonly directory: string
  readonly versions: Versions
  /** Events that were answered with 200 have the numbers below this. */
  sent = 0
  readonly #t: Test
  readonly #env: Record<string, string>

  /** @param env of all processes, except WRITE_KEYS and PORT */
  constructor(t: Test, versions: Versions, env: Record<string, string>) {
    this.#t = t
    this.#env = env
    this.versions = versions
    this.directory = temporaryDirectory(t)
  }

  /** Starts a server on a free port. Its DATA_DIR is `data`, unless `env` names another one. */
  serve(version: keyof Versions, env: Record<string, string> = {}): Program {
    return this.#start(version, ['serve'], env)
  }

  async command(
    version: keyof Versions,
    args: readonly string[],
    env: Record<string, string> = {},
  ): Promise<{ code: number | null; output: string }> {
    const program = this.#start(version, args, env)
    const { code } = await program.endsWithin(END_MS_MAX)
    return { code, output: program.output }
  }

  /** Sends new events, most of them in a batch. */
  async send(server: Program, count: number): Promise<void> {
    const numbers = range(count).map(n => n + this.sent)
    await this.#post(server, numbers)
    this.sent += count
  }

  /** Sends events again, as clients do that got no answer. */
  async resend(server: Program, numbers: readonly number[]): Promise<void> {
    await this.#post(server, numbers)
  }

  /** Resolves when `frequency status` of this version says that no event waits in these processes or their queue. */
  async hasArchivedAll(version: keyof Versions, servers: readonly Program[]): Promise<void> {
    const urls = await Promise.all(servers.map(async server => ['--url', await server.listening()]))
    await until('all events are archived', LEFT_MS_MAX, async () => {
      const { output } = await this.command(version, ['status', '--json', ...urls.flat()])
      const { ledger } = JSON.parse(output)
      return ledger?.disk === 0 && ledger.unacknowledged === 0 && ledger.queue.messages === 0
    })
  }

  /** `find data* -name '*.mdb*' -delete` */
  deleteFormerFiles(): void {
    for (const name of readdirSync(this.directory, { recursive: true, encoding: 'utf8' }))
      if (/\.mdb/.test(name)) rmSync(join(this.directory, name))
  }

  /** `rm -r data/archive/frequency/_frequency` */
  deleteLog(): void {
    rmSync(join(this.directory, 'data/archive/frequency/_frequency'), { recursive: true })
  }

  /** Asserts that each sent event is in the archive once, by its objects, `verify`, and `query`. */
  async isExact(): Promise<void> {
    const config = configOf({ ...this.#env, DATA_DIR: join(this.directory, 'data') })
    const numbers = numbersIn(await archivedObjects(config)).sort((a, b) => a - b)
    this.#t.strictSame(numbers, range(this.sent), `each of ${this.sent} events is archived once`)
    const { code, output } = await this.command('present', ['verify'])
    this.#t.equal(code, 0, 'verify is clean')
    this.#t.match(output, 'CLEAN: every object can be read, and every event is archived once.')
    const sql = 'select count(*) as events, count(distinct message_id) as ids from events'
    const counted = await this.command('present', ['query', sql, '--format=json'])
    this.#t.strictSame(JSON.parse(counted.output), [{ events: this.sent, ids: this.sent }], 'query')
  }

  #start(version: keyof Versions, args: readonly string[], env: Record<string, string>): Program {
    const settings = { WRITE_KEYS: `backend=${KEY}`, PORT: '0', DATA_DIR: 'data' }
    return startProgram(this.#t, this.versions[version], {
      name: `${version} ${args[0]}`,
      args,
      cwd: this.directory,
      env: { ...settings, ...this.#env, ...env },
    })
  }

  async #post(server: Program, numbers: readonly number[]): Promise<void> {
    const url = await server.listening()
    const events = numbers.map(n => ({ event: 'kept', messageId: `e${n}`, n }))
    const [first, ...rest] = events
    const bodies: [string, unknown][] = [[`${url}/api/t`, first]]
    if (rest.length > 0) bodies.push([`${url}/api/t/batch`, rest])
    for (const [path, body] of bodies)
      this.#t.equal(await post(`${path}?writeKey=${KEY}`, JSON.stringify(body), JSON_TYPE), 200)
  }
}
