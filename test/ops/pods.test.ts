/** Runs the containers of the manifests with what the manifests give them, and nothing else. */
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { archivedObjects } from '../bin/archived.ts'
import { buildProgram } from '../bin/program.ts'
import { testBucket } from '../bin/s3-bucket.ts'
import { configOf } from '../helpers/helper.ts'
import { brokerUrl, uniqueQueueName } from '../helpers/queue-helper.ts'
import { until } from '../services/wait.ts'
import { StartedPod } from './chart/started-pod.ts'

const ARCHIVED_MS_MAX = 60_000
const KEYS_MS_MAX = 30_000
const EVENTS = 20
const WRITE_KEYS = '/etc/frequency/keys'

const program = await buildProgram(t)

t.test('pods of both roles pass their probes, and archive events', async t => {
  const bucket = await testBucket(t)
  const ARCHIVE_URL = `s3://${bucket.name}/events`
  const secrets = {
    'frequency-broker': { url: brokerUrl() },
    'frequency-write-keys': { 'write-keys': 'web:browser=first-key\n' },
    'frequency-aws': {
      'access-key-id': String(bucket.env.AWS_ACCESS_KEY_ID),
      'secret-access-key': bucket.secret,
    },
  }
  const queue = { AMQP_QUEUE: uniqueQueueName(t) }
  const store = { ARCHIVE_URL, AWS_ENDPOINT_URL_S3: bucket.endpoint, S3_FORCE_PATH_STYLE: 'true' }
  const ingest = new StartedPod(t, 'StatefulSet', 1, { program, secrets, env: queue })
  const archive = new StartedPod(t, 'Deployment', 2, { program, secrets, env: { ...queue, ...store } })
  const pods = [ingest, archive].map(pod => ({ pod, server: pod.start() }))
  for (const { pod, server } of pods) {
    const { startupProbe, livenessProbe, readinessProbe } = pod.container
    for (const probe of [startupProbe, livenessProbe, readinessProbe])
      if (probe === undefined) t.fail('a probe is missing')
      else await pod.passes(probe, server)
  }

  const url = `http://${ingest.address}:${ingest.port('http')}`
  const send = async (key: string): Promise<Response> =>
    fetch(`${url}/api/t`, {
      method: 'POST',
      headers: { 'x-write-key': key, 'content-type': 'application/json' },
      body: JSON.stringify({ event: 'sent', messageId: randomUUID() }),
    })
  for (let sent = 0; sent < EVENTS; sent++) {
    const response = await send('first-key')
    t.match(
      { status: response.status, ack: response.headers.get('frequency-ack') },
      { status: 200, ack: 'broker' },
    )
  }
  t.equal((await send('second-key')).status, 401)
  for (const path of ['/metrics', '/status', '/readyz'])
    t.equal((await fetch(`${url}${path}`)).status, 404, `${path} is not on the port for clients`)
  t.equal((await fetch(`http://${archive.address}:${archive.port('admin')}/metrics`)).status, 200)

  secrets['frequency-write-keys']['write-keys'] = 'web:browser=second-key\n'
  ingest.mount(WRITE_KEYS, {
    secretName: 'frequency-write-keys',
    items: [{ key: 'write-keys', path: 'write-keys' }],
  })
  await until('the changed Secret counts', KEYS_MS_MAX, async () => (await send('second-key')).status === 200)
  t.equal((await send('first-key')).status, 401)

  const asked = await ingest.start(['status']).endsWithin(ARCHIVED_MS_MAX)
  t.equal(asked.code, 2, 'status finds the server, and misses an archiver')
  const checked = archive.start(['check', '--role=archive'])
  t.equal((await checked.endsWithin(ARCHIVED_MS_MAX)).code, 0, checked.output)

  for (const { server } of pods) {
    t.equal((await server.stop()).code, 0)
    t.match(server.output, /Stopped\./)
  }
  const objects = await archivedObjects(configOf({ ARCHIVE_URL, S3_FORCE_PATH_STYLE: 'true' }))
  const events = objects.flatMap(({ lines }) => lines.map(line => JSON.parse(line)))
  t.equal(new Set(events.map(({ messageId }) => messageId)).size, EVENTS + 1)
  t.ok(events.every(({ source }) => source === 'web'))
})
