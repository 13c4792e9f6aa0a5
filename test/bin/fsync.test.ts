/**
 * An answer, and an object, must wait for the sync to disk. A SIGKILL does not show this, because written bytes stay in
 * the page cache, synced or not. So strace makes syncs of the built program slow, or fail.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { ensureServers, serverPath } from '../services/install.ts'
import type { Program } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { archivedObjects, numbersIn } from './archived.ts'
import { buildProgram, startProgram } from './program.ts'

const WAIT_MS_MAX = 60_000
const SYNC_MS = 1_000
const SYNCS = 'fsync,fdatasync,msync,sync_file_range'

await ensureServers()
const path = await buildProgram(t)

function run(t: Test, cwd: string, syncing: string | undefined, env: Record<string, string>): Program {
  // With -D strace is a grandchild, so the program itself gets the signals.
  const strace = [serverPath('strace'), '-D', '-f', '-qq', '-o', join(cwd, 'strace')]
  return startProgram(t, path, {
    cwd,
    env: { PORT: '0', ...env },
    under:
      syncing === undefined ? [] : [...strace, '-e', `trace=${SYNCS}`, '-e', `inject=${SYNCS}:${syncing}`],
  })
}

async function post(url: string, n: number): Promise<number> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${url}/api/t`, {
    method: 'POST',
    headers,
    body: `{"event":"synced","n":${n}}`,
  })
  return response.status
}

t.test('an event gets its answer only after it is on disk', async t => {
  const cwd = temporaryDirectory(t)
  const program = run(t, cwd, `delay_exit=${SYNC_MS * 1_000}`, { BATCH_AGE_MS_MAX: '600000' })
  const url = await program.listening()
  for (const n of [0, 1, 2]) {
    const startedAt = performance.now()
    t.equal(await post(url, n), 200)
    const ms = performance.now() - startedAt
    t.ok(ms >= SYNC_MS, `after ${Math.round(ms)} ms, at least the ${SYNC_MS} ms of a sync`)
  }
})

t.test('if a disk sync fails, events get 503, and earlier events are kept', async t => {
  const cwd = temporaryDirectory(t)
  // The first syncs of each thread succeed, so that the program starts.
  const failing = run(t, cwd, 'error=EIO:when=8+', { BATCH_AGE_MS_MAX: '600000' })
  const url = await failing.listening()
  const statuses: number[] = []
  await until('no sync goes well any more', WAIT_MS_MAX, async () => {
    statuses.push(await post(url, statuses.length))
    return statuses.slice(-20).every(status => status === 503) && statuses.length >= 20
  })
  t.match(await (await fetch(`${url}/healthz`)).text(), /EIO: i\/o error, f(data)?sync/, '/healthz says why')
  await failing.kill('SIGKILL').ended
  const taken = statuses.flatMap((status, n) => (status === 200 ? [n] : []))
  t.same(new Set(statuses), new Set([200, 503]))
  const syncs = readFileSync(join(cwd, 'strace'), 'utf8').split('\n')
  t.ok(taken.length <= syncs.filter(line => / = 0$/.test(line)).length, 'no answer without a sync of its own')

  const next = run(t, cwd, undefined, { BATCH_AGE_MS_MAX: '100' })
  t.equal(await post(await next.listening(), statuses.length), 200)
  t.match(await next.stop(), { code: 0 })
  const numbers = numbersIn(await archivedObjects(configOf({ DATA_DIR: join(cwd, 'data') })))
  t.equal(new Set(numbers).size, numbers.length)
  t.same(
    [...taken, statuses.length].filter(n => !numbers.includes(n)),
    [],
  )
})
