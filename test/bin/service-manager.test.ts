/** What the program tells systemd, received from the real systemd-notify. */
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, uniqueQueueName } from '../helpers/queue-helper.ts'
import { Child } from '../services/child-process.ts'
import { ensureServers, SYSTEMD_PACKAGES } from '../services/install.ts'
import { buildProgram, startProgram } from './program.ts'

/** systemd's end of NOTIFY_SOCKET. Node has no Unix datagram sockets; Debian's base system has Perl. */
const RECEIVER = `
use Socket;
$| = 1;
socket(my $socket, PF_UNIX, SOCK_DGRAM, 0) or die $!;
bind($socket, sockaddr_un($ARGV[0])) or die $!;
print "bound\\n";
while (defined recv($socket, my $message, 4096, 0)) { print join(" ", split(/\\n/, $message)), "\\n" }
`
const END_MS_MAX = 10_000

interface Manager {
  /** Of a unit with Type=notify. */
  readonly env: NodeJS.ProcessEnv
  /** Resolves when a notification matches. */
  says(pattern: RegExp): Promise<void>
  notifications(): string[]
}

async function startManager(t: Test): Promise<Manager> {
  await ensureServers(SYSTEMD_PACKAGES)
  const cwd = temporaryDirectory(t)
  const NOTIFY_SOCKET = join(cwd, 'notify')
  const args = ['-e', RECEIVER, NOTIFY_SOCKET]
  const receiver = new Child({ name: 'the receiver', command: 'perl', args, env: process.env, cwd })
  t.teardown(() => receiver.kill('SIGKILL').endsWithin(END_MS_MAX))
  await receiver.says(/^bound$/m)
  return {
    env: { NOTIFY_SOCKET },
    says: pattern => receiver.says(pattern),
    // systemd-notify also sends a barrier, to know that its message was read.
    notifications: () => receiver.stdout.split('\n').filter(line => /READY|STOPPING/.test(line)),
  }
}

test('systemd is notified', async t => {
  const program = await buildProgram(t)

  t.test('by one process: that it listens and where, and that it stops', async t => {
    const manager = await startManager(t)
    const env = { ...manager.env, PORT: '0', SHUTDOWN_MS_MAX: '90s' }
    const server = startProgram(t, program, { env, cwd: temporaryDirectory(t) })
    const url = await server.listening()
    await manager.says(/^READY=1 /m)
    t.equal((await server.stop()).code, 0)
    await manager.says(/^STOPPING=1 /m)
    t.same(manager.notifications(), [
      `READY=1 STATUS=Listens on ${url}`,
      // 90 seconds, and what the workers may take longer.
      'STOPPING=1 STATUS=Shutting down EXTEND_TIMEOUT_USEC=94000000',
    ])
    t.notMatch(server.output, /could not be notified/)
  })

  t.test('once for all workers', async t => {
    const manager = await startManager(t)
    const broker = { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) }
    const env = { ...manager.env, ...broker, PORT: '0', ROLE: 'ingest', WORKERS: '2' }
    const server = startProgram(t, program, { env, cwd: temporaryDirectory(t) })
    await server.listening()
    await manager.says(/^READY=1 /m)
    t.equal((await server.stop()).code, 0)
    await manager.says(/^STOPPING=1 /m)
    t.match(manager.notifications(), [/^READY=1 STATUS=2 workers$/, /^STOPPING=1 .*=34000000$/])
    t.equal(manager.notifications().length, 2)
  })

  t.test('not by a server that cannot start', async t => {
    const manager = await startManager(t)
    const env = { ...manager.env, PORT: '0', HOST: '192.0.2.1' }
    const server = startProgram(t, program, { env, cwd: temporaryDirectory(t) })
    t.equal((await server.endsWithin(END_MS_MAX)).code, 1)
    t.same(manager.notifications(), [])
  })

  t.test('or the log says why it cannot be, and the server goes on', async t => {
    const env = { NOTIFY_SOCKET: join(temporaryDirectory(t), 'nobody'), PORT: '0' }
    const server = startProgram(t, program, { env, cwd: temporaryDirectory(t) })
    const url = await server.listening()
    await server.says(/systemd could not be notified: systemd-notify failed/)
    t.equal((await fetch(`${url}/healthz`)).status, 200)
    t.equal((await server.stop()).code, 0)
  })
})
