/** Requests that real clients send (../cases/clients.json), each with the expected answer and archived events. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { serveApp } from './served-app.ts'

interface Case {
  readonly name: string
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body?: string
  readonly bodyBase64?: string
  readonly want: {
    readonly status: number
    readonly accepted?: number
    readonly refusedIndexes?: readonly number[]
    readonly messageContains?: string
    /** Paths in the answer. */
    readonly bodyHas?: readonly string[]
    /** Members of archived events. */
    readonly archived?: readonly Record<string, unknown>[]
    /** Parts of archived lines. */
    readonly archivedText?: readonly string[]
  }
}

interface Answer {
  readonly accepted?: number
  readonly refused?: readonly { index: number }[]
  readonly message?: string
}

const cases: readonly Case[] = JSON.parse(
  readFileSync(new URL('../cases/clients.json', import.meta.url), 'utf8'),
)

function bodyOf({ body, bodyBase64 }: Case): string | Buffer | null {
  return bodyBase64 === undefined ? (body ?? null) : Buffer.from(bodyBase64, 'base64')
}

function jsonOf(text: string): Answer {
  try {
    return JSON.parse(text)
  } catch {
    return {}
  }
}

function valueAt(value: unknown, path: string): unknown {
  return path.split('.').reduce((inner, name) => Object(inner)[name], value)
}

t.test('each request gets its expected answer, and is archived as expected', async t => {
  const served = await serveApp(t)
  const answers = await Promise.all(cases.map(each => send(served.url, each)))
  const lines = await served.archivedLines()
  const events: Record<string, unknown>[] = lines.map(line => JSON.parse(line))
  for (const [index, { name, want }] of cases.entries()) {
    const { status, text } = answers[index] as Sent
    const answer = jsonOf(text)
    t.equal(status, want.status, `${name}: ${text.slice(0, 300)}`)
    if (want.accepted !== undefined) t.equal(answer.accepted, want.accepted, name)
    if (want.refusedIndexes !== undefined) {
      const indexes = (answer.refused ?? []).map(({ index }) => index)
      t.strictSame(indexes, want.refusedIndexes, name)
    }
    if (want.messageContains !== undefined) t.match(answer.message, want.messageContains, name)
    for (const path of want.bodyHas ?? []) t.not(valueAt(answer, path), undefined, `${name}: ${path}`)
    for (const wanted of want.archived ?? [])
      t.ok(
        events.some(event => isPartOf(wanted, event)),
        `${name}: ${JSON.stringify(wanted)}`,
      )
    for (const part of want.archivedText ?? [])
      t.ok(
        lines.some(line => line.includes(part)),
        `${name}: ${part}`,
      )
  }
})

interface Sent {
  readonly status: number
  readonly text: string
}

async function send(url: string, each: Case): Promise<Sent> {
  const { method, path, headers } = each
  const response = await fetch(url + path, { method, headers, body: bodyOf(each) })
  return { status: response.status, text: await response.text() }
}

function isPartOf(wanted: Record<string, unknown>, event: Record<string, unknown>): boolean {
  return Object.entries(wanted).every(
    ([name, value]) => JSON.stringify(event[name]) === JSON.stringify(value),
  )
}
