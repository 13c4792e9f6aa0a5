/**
 * `npm run test:compose`: starts the services of ops/compose/compose.yaml by hand, with its files, names, addresses and
 * environment, sends events through the balancer while nodes stop, and counts what is archived.
 *
 * Needs root of a Linux machine, and Go for the S3 server. Grafana is not started. RabbitMQ is 4.0.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { buildImage } from '../image/built-image.ts'
import { ensureServers } from '../services/install.ts'
import { ROOT } from '../services/program.ts'
import { ensureRabbitmq4 } from '../services/rabbitmq4.ts'
import { builtBinary } from '../ways/built-binary.ts'

const S3_MODULE = 'github.com/versity/versitygw/cmd/versitygw@v1.8.0'

await ensureServers([
  { name: 'haproxy', binaries: ['haproxy'] },
  { name: 'prometheus', binaries: ['prometheus'] },
  { name: 'dnsmasq-base', binaries: ['dnsmasq'] },
  { name: 'iproute2', binaries: ['ip'] },
  { name: 'wget', binaries: ['wget'] },
])
const { server } = await ensureRabbitmq4()
const image = await buildImage(await builtBinary())
const setup = {
  s3: s3Server(),
  rabbitmq: server.args[4],
  image: image.root,
  imageEnv: image.config.Env,
  user: image.config.User,
}
// A network, and processes that end with it.
const inside = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']
const run = ['--import=tsx', join(ROOT, 'test', 'compose', 'services.ts')]
const { status } = spawnSync('unshare', [...inside, process.execPath, ...run], {
  stdio: 'inherit',
  env: { ...process.env, COMPOSE_SETUP: JSON.stringify(setup) },
})
process.exit(status ?? 1)

/** @returns the path of its executable, which is built once and kept */
function s3Server(): string {
  const directory = process.env.TEST_VERSITYGW_DIR ?? join(ROOT, '.tap', 'versitygw')
  mkdirSync(directory, { recursive: true })
  execFileSync('go', ['install', S3_MODULE], { env: { ...process.env, GOBIN: directory }, stdio: 'inherit' })
  return join(directory, 'versitygw')
}
