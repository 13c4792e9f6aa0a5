/** A log shipper: syslog-ng sends the lines of a file to `/api/t/batch`, through lost answers, 503 and a kill. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { range, temporaryDirectory } from '../../helpers/helper.ts'
import { ensureServers, serverPath } from '../../services/install.ts'
import { until } from '../../services/wait.ts'
import { hasEachOnce, parsed } from '../believed.ts'
import { type Front, openFront } from './front.ts'
import { NotHere, run, sourcePath } from './language.ts'
import { serve, WRITE_KEY } from './server.ts'

const PACKAGES = [
  { name: 'syslog-ng-core', binaries: ['syslog-ng', 'syslog-ng-ctl'] },
  { name: 'syslog-ng-mod-http', binaries: ['syslog-ng'] },
]
const SENDING_MS_MAX = 60_000
/** Length of the output that an error shows. syslog-ng repeats its messages. */
const OUTPUT_LENGTH_MAX = 2_000
const REFUSED_MS = 3_000

/** Makes syslog-ng ready to run. @returns its version. @throws NotHere */
export async function prepareShipper(): Promise<string> {
  await ensureServers(PACKAGES).catch(err => {
    throw new NotHere('syslog-ng could not be installed', { cause: err })
  })
  const version = await run({ file: serverPath('syslog-ng'), args: ['--version'] })
  if (!/\bhttp\b/.test(version)) throw new NotHere('its package syslog-ng-mod-http is missing')
  return `syslog-ng ${/\((\S+)\)/.exec(version)?.[1]}`
}

class Shipper {
  readonly #child: ChildProcess
  readonly #directory: string
  readonly #file: string
  #output = ''
  #appended = 0

  constructor(t: Test, url: string) {
    this.#directory = temporaryDirectory(t)
    this.#file = join(this.#directory, 'lines.log')
    writeFileSync(this.#file, '')
    const paths = ['persist', 'pid', 'control'].map(name => join(this.#directory, name))
    const [persist = '', pid = '', control = ''] = paths
    const files = ['--persist-file', persist, '--pidfile', pid, '--control', control]
    const config = ['--cfgfile', sourcePath('syslog-ng', 'syslog-ng.conf')]
    const args = ['--foreground', '--stderr', '--no-caps', ...config, ...files]
    this.#child = spawn(serverPath('syslog-ng'), args, {
      env: { ...process.env, CLIENT_FILE: this.#file, CLIENT_URL: url, CLIENT_WRITE_KEY: WRITE_KEY },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text
    })
    t.teardown(() => this.#child.kill('SIGKILL'))
  }

  /** Appends `count` lines with the next numbers to the followed file. */
  append(count: number): void {
    const numbers = range(count).map(n => this.#appended + n + 1)
    this.#appended += count
    appendFileSync(this.#file, numbers.map(number => `${number}\n`).join(''))
  }

  /** Resolves when syslog-ng reports all lines as sent. @throws Error with its output if it does not */
  async sentAll(): Promise<void> {
    const all = `written;${this.#appended}`
    await until(`syslog-ng says ${all}`, SENDING_MS_MAX, async () =>
      (await this.#stats()).includes(all),
    ).catch(err => {
      throw new Error(`${err.message}\n${this.#output.slice(-OUTPUT_LENGTH_MAX)}`, { cause: err })
    })
  }

  async stop(): Promise<void> {
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    await exited
  }

  /** Statistics of its HTTP destination; empty while it starts. */
  async #stats(): Promise<string[]> {
    const args = ['stats', '--control', join(this.#directory, 'control')]
    const stats = await run({ file: serverPath('syslog-ng-ctl'), args }).catch(() => '')
    const lines = stats.split('\n').filter(line => line.startsWith('dst.http;'))
    return lines.map(line => line.split(';').slice(-2).join(';'))
  }
}

function countOf(front: Front, wanted: number): number {
  return front.seen.filter(({ status }) => status === wanted).length
}

/** @param path of the built program @returns a sentence for the summary */
export async function shipsLines(t: Test, path: string): Promise<string> {
  const server = await serve(t, path)
  const front = await openFront(t, server.url, false)
  const shipper = new Shipper(t, front.url)
  shipper.append(200)
  await shipper.sentAll()
  front.loseAnswers(2)
  shipper.append(100)
  await shipper.sentAll()
  const lost = countOf(front, 502)
  t.ok(lost > 0, 'answers are lost')
  front.refuse(REFUSED_MS)
  shipper.append(100)
  await shipper.sentAll()
  const refused = countOf(front, 503)
  t.ok(refused > 0, 'the server refuses')
  await server.kill()
  shipper.append(100)
  await until('it has tried', SENDING_MS_MAX, () => countOf(front, 502) > lost)
  await server.start()
  await shipper.sentAll()
  await shipper.stop()

  const archived = parsed(await server.archivedLines())
  const byLine = archived.map(event => {
    const { message } = event.properties as { message: unknown }
    return { ...event, messageId: String(message) }
  })
  const numbers = range(500).map(n => String(n + 1))
  hasEachOnce(t, byLine, numbers)
  t.equal(archived.length, numbers.length)
  return `500 lines in ${countOf(front, 200)} requests; ${lost} lost answers, ${refused} times 503 and a kill, all archived once`
}
