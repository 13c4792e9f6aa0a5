/** If the reader of its output exits (`| head -1`), a command ends quietly with 141, the shell's code for SIGPIPE. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openQueue } from '../../src/queue/open-queue.ts'
import { configOf, eventOf, silent, temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, Inbox, uniqueQueueName } from '../helpers/queue-helper.ts'
import type { Program, ProgramOptions } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { archivedObjects } from './archived.ts'
import { buildProgram, startProgram } from './program.ts'

const END_MS_MAX = 60_000
const CLOSED = 141

const path = await buildProgram(t)

/** Starts a program whose output is closed from the start. */
function unread(t: Test, options: Partial<ProgramOptions>): Program {
  const program = startProgram(t, path, { cwd: temporaryDirectory(t), ...options })
  program.closeStdout()
  return program
}

async function endsQuietly(t: Test, options: Partial<ProgramOptions>): Promise<void> {
  const program = unread(t, options)
  t.match(await program.endsWithin(END_MS_MAX), { code: CLOSED, signal: null }, `${options.args}`)
  t.equal(program.stderr, '')
}

t.test('commands that print a report end quietly', async t => {
  const cwd = temporaryDirectory(t)
  const server = startProgram(t, path, { cwd, env: { PORT: '0', BATCH_AGE_MS_MAX: '50ms' } })
  t.teardown(() => server.kill('SIGKILL').ended)
  const url = await server.listening()
  await fetch(`${url}/api/t`, { method: 'POST', body: new URLSearchParams({ event: 'a' }) })
  await until('it is archived', END_MS_MAX, async () => {
    return (await archivedObjects(configOf({ DATA_DIR: join(cwd, 'data') }))).length > 0
  })
  const archive = join(cwd, 'data', 'archive')
  for (const json of [[], ['--json']]) {
    await endsQuietly(t, { args: ['status', '--url', url, ...json] })
    await endsQuietly(t, { args: ['verify', archive, ...json] })
    await endsQuietly(t, { args: ['log', archive, ...json] })
    await endsQuietly(t, { args: ['check', ...json] })
  }
  t.match(await server.stop(), { code: 0 })
})

t.test('dead letters are not changed', async t => {
  const DATA_DIR = temporaryDirectory(t)
  const queue = await openQueue(configOf({ DATA_DIR }), silent)
  await queue.publish(eventOf({ event: 'e' }))
  const inbox = new Inbox(queue)
  await inbox.receives(1)
  inbox.consumer.dead(inbox.at(0))
  await queue.close()
  for (const args of [['list'], ['list', '--json'], ['show', '1']])
    await endsQuietly(t, { args: ['dead', ...args], env: { DATA_DIR } })
  const program = startProgram(t, path, { args: ['dead'], env: { DATA_DIR }, cwd: DATA_DIR })
  t.match(await program.endsWithin(END_MS_MAX), { code: 0 })
  t.match(program.stdout, '1 dead letter')
})

t.test('a server shuts down when its log is closed, and loses nothing', async t => {
  const cwd = temporaryDirectory(t)
  const program = unread(t, { args: ['serve'], env: { PORT: '0', BATCH_AGE_MS_MAX: '10m' }, cwd })
  t.match(await program.endsWithin(END_MS_MAX), { code: CLOSED, signal: null })
  t.notMatch(program.stderr, /EPIPE|Error/)

  const later = startProgram(t, path, { cwd, env: { PORT: '0', BATCH_AGE_MS_MAX: '10m' } })
  t.teardown(() => later.kill('SIGKILL').ended)
  const url = await later.listening()
  await fetch(`${url}/api/t`, { method: 'POST', body: new URLSearchParams({ event: 'a' }) })
  later.closeStdout()
  t.match(await later.stop(), { code: 0 }, 'a signal came before')
  const objects = await archivedObjects(configOf({ DATA_DIR: join(cwd, 'data') }))
  t.equal(objects.flatMap(({ lines }) => lines).length, 1)
})

t.test('workers end with their primary', async t => {
  const env = {
    PORT: '0',
    WORKERS: '2',
    AMQP_URL: brokerUrl(),
    AMQP_QUEUE: uniqueQueueName(t),
    ARCHIVE_URL: temporaryDirectory(t),
  }
  t.match(await unread(t, { args: ['serve'], env }).endsWithin(END_MS_MAX), { code: CLOSED })
})

t.test('--help and --version', async t => {
  for (const args of [['--help'], ['serve', '--help'], ['dead', 'list', '--help'], ['--version']]) {
    const program = unread(t, { args })
    t.match(await program.endsWithin(END_MS_MAX), { signal: null })
    t.equal(program.stderr, '')
  }
})

t.test('output onto a full disk: commands fail in one line, and a server serves', async t => {
  const under = ['sh', '-c', 'exec "$@" > /dev/full', 'sh']
  for (const args of [['check'], ['verify', temporaryDirectory(t)]]) {
    const program = startProgram(t, path, { args, under, cwd: temporaryDirectory(t) })
    t.match(await program.endsWithin(END_MS_MAX), { code: 2 }, `${args}`)
    t.match(program.stderr, /^frequency: standard output cannot be written: .*ENOSPC.*\n$/, `${args}`)
  }
  const server = startProgram(t, path, { under, env: { PORT: '0' }, cwd: temporaryDirectory(t) })
  const url = await server.listening()
  const answer = await fetch(`${url}/api/t`, { method: 'POST', body: new URLSearchParams({ event: 'a' }) })
  t.equal(answer.status, 200)
  t.match(await server.stop(), { code: 0 })
})
