/** A real API server of Kubernetes, with etcd and nothing else: it checks objects, and runs no pods. */
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { Daemon } from '../../services/daemon.ts'
import { freePort } from '../../services/ports.ts'
import { until } from '../../services/wait.ts'
import { Workspace } from '../../services/workspace.ts'
import { type Ran, ranTool } from './tools.ts'

const READY_MS_MAX = 60_000
const TOKEN = 'token-of-the-test'

export interface ApiServer {
  kubectl(args: readonly string[]): Promise<Ran>
}

/** Starts etcd and kube-apiserver of PATH, until the end of the test. */
export async function startApiServer(t: Test): Promise<ApiServer> {
  const workspace = new Workspace('apiserver')
  t.teardown(() => workspace.close())
  const [client, peer, port] = [await freePort(), await freePort(), await freePort()]
  const url = (number: number): string => `http://127.0.0.1:${number}`
  const path = (name: string): string => join(workspace.dir, name)
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  writeFileSync(path('key.pem'), privateKey.export({ type: 'pkcs1', format: 'pem' }))
  writeFileSync(path('tokens.csv'), `${TOKEN},admin,admin,system:masters\n`)
  const etcd = new Daemon(workspace, {
    name: 'etcd',
    command: 'etcd',
    args: [
      ...[
        '--data-dir',
        path('etcd'),
        '--listen-client-urls',
        url(client),
        '--advertise-client-urls',
        url(client),
      ],
      ...['--listen-peer-urls', url(peer), '--initial-advertise-peer-urls', url(peer)],
      ...['--initial-cluster', `default=${url(peer)}`],
    ],
  })
  const server = new Daemon(workspace, {
    name: 'kube-apiserver',
    command: 'kube-apiserver',
    args: [
      ...['--etcd-servers', url(client), '--bind-address', '127.0.0.1', '--secure-port', String(port)],
      ...['--cert-dir', path('certificates'), '--token-auth-file', path('tokens.csv')],
      ...[
        '--service-account-issuer',
        'https://kubernetes.default.svc',
        '--service-cluster-ip-range',
        '10.0.0.0/24',
      ],
      ...[
        '--service-account-key-file',
        path('key.pem'),
        '--service-account-signing-key-file',
        path('key.pem'),
      ],
      // Nothing makes the service account `default`, without which pods would be refused.
      ...['--authorization-mode', 'RBAC', '--disable-admission-plugins', 'ServiceAccount'],
    ],
  })
  etcd.start()
  server.start()
  const kubectl = (args: readonly string[]): Promise<Ran> =>
    ranTool('kubectl', [
      ...['--server', `https://127.0.0.1:${port}`, '--insecure-skip-tls-verify', '--token', TOKEN],
      ...args,
    ])
  await until('the API server is ready', READY_MS_MAX, async () => {
    server.assertRunning()
    return (await kubectl(['get', '--raw', '/readyz'])).code === 0
  })
  return { kubectl }
}
