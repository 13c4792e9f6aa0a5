/** Runs `frequency health` on a server, on one that cannot work, and where nothing listens. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test, test } from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import { freePort } from '../services/ports.ts'
import { buildProgram, type Run, runProgram, startProgram } from './program.ts'

const path = await buildProgram(t)

function health(t: Test, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Run> {
  return runProgram(t, path, ['health', ...args], env)
}

test('is healthy while the server runs, and finds it by the settings of the server', async t => {
  const [port, adminPort] = [await freePort(), await freePort()]
  const settings = { PORT: `${port}`, ADMIN_PORT: `${adminPort}`, ADMIN_HOST: '0.0.0.0' }
  // The queue is a broker that nobody answers for: the server is alive, and without a spool not ready.
  const unready = { AMQP_URL: `amqp://127.0.0.1:${await freePort()}`, SPOOL: 'off', ROLE: 'ingest' }
  const server = startProgram(t, path, {
    cwd: temporaryDirectory(t),
    env: { ...settings, ...unready, ADMIN_HOST: '127.0.0.1' },
  })
  await server.listening()

  const alive = await health(t, [], settings)
  t.match(alive, { code: 0, stderr: '' })
  t.match(JSON.parse(alive.stdout), { status: 'waiting', role: 'ingest' })

  const ready = await health(t, ['--ready'], settings)
  t.match(ready, { code: 1, stdout: '', stderr: /readyz: it answers 503: .*"ready":false/ })

  const wrongPort = await health(t, [], { PORT: `${port}` })
  t.match(wrongPort, { code: 1, stderr: /it answers 404/ }, 'with ADMIN_PORT, PORT has no health')

  await server.stop()
  t.match(await health(t, [], settings), { code: 1, stdout: '', stderr: /nothing listens there/ })
})

test('is ready when the server takes events', async t => {
  const server = startProgram(t, path, { cwd: temporaryDirectory(t), env: { PORT: '0' } })
  const url = await server.listening()
  t.match(await health(t, ['--ready', `--url=${url}`]), { code: 0, stdout: /"ready":true/, stderr: '' })
})

test('is not healthy if the server accepts and does not answer', async t => {
  const server = createServer(() => {})
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  t.teardown(() => server.close().closeAllConnections())
  const { port } = server.address() as AddressInfo
  const answer = await health(t, [`--port=${port}`])
  t.match(answer, { code: 1, stdout: '', stderr: /does not answer within 4 s/ })
})

test('is not healthy if its settings are wrong', async t => {
  t.match(await health(t, ['--port=0']), { code: 1, stderr: /PORT is 0, .* name the server with --url/ })
})
