/** Runs `frequency check` of the built program against real servers, with and without faults. */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import {
  type LifecycleRule,
  ListObjectsV2Command,
  PutBucketLifecycleConfigurationCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import t, { type Test } from 'tap'
import { openQueue } from '../../src/queue/open-queue.ts'
import { configOf, silent, temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, openChannel, uniqueQueueName } from '../helpers/queue-helper.ts'
import { filesBelow, openUploads } from '../helpers/store-helper.ts'
import { rabbitmqctl, startRabbitmq } from '../services/rabbitmq.ts'
import { startS3Server } from '../services/s3-server.ts'
import { buildProgram, startProgram } from './program.ts'
import { testBucket } from './s3-bucket.ts'

const END_MS_MAX = 120_000
const RETENTION_DAYS = 30
const HOUR_MS = 3_600_000
/** As without AMQP_URL; with it nothing is assumed. */
const LOCAL_ARCHIVE = { ARCHIVE_URL: './data/archive' }

const path = await buildProgram(t)

interface Report {
  code: number | null
  output: string
  result: string
  /** The details by the names of the findings. */
  results: Record<string, string>
  details: Record<string, string>
}

async function check(t: Test, env: Record<string, string> = {}): Promise<Report> {
  const cwd = temporaryDirectory(t)
  const program = startProgram(t, path, { args: ['check', '--json'], env: { ...LOCAL_ARCHIVE, ...env }, cwd })
  const { code } = await program.endsWithin(END_MS_MAX)
  const { result, findings } = JSON.parse(program.stdout)
  const by = (field: string) =>
    Object.fromEntries(findings.map((each: Record<string, string>) => [each.name, each[field]]))
  t.same(filesBelow(cwd), [], 'nothing is left where it ran')
  for (const secret of [env.AWS_SECRET_ACCESS_KEY, 'guest:', 'secret'])
    if (secret !== undefined) t.notMatch(program.output, secret, 'no secret is printed')
  return { code, output: program.output, result, results: by('result'), details: by('detail') }
}

async function keysOf(t: Test, bucket: string): Promise<string[]> {
  const client = new S3Client({ forcePathStyle: true })
  t.teardown(() => client.destroy())
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
  return Contents.map(({ Key }) => String(Key))
}

t.test('with a disk only', async t => {
  const { code, results, details } = await check(t)
  t.equal(code, 0)
  t.match(results, { settings: 'ok', 'data directory': 'ok', broker: 'skipped', archive: 'ok' })
  t.match(details['data directory'], 'does not exist yet, and can be created')
})

t.test('a DATA_DIR and an archive of frequency 0.1', async t => {
  const cwd = temporaryDirectory(t)
  const object = join(
    cwd,
    'data/archive/frequency/dt=2026-11-26/hour=01/batch_20261126T010000000Z_0123456789abcdef.ndjson',
  )
  for (const file of ['data/queue/data.mdb', 'data/spool/0/data.mdb', object]) {
    mkdirSync(dirname(resolve(cwd, file)), { recursive: true })
    writeFileSync(resolve(cwd, file), 'x')
  }
  const program = startProgram(t, path, { args: ['check'], cwd })
  t.equal((await program.endsWithin(END_MS_MAX)).code, 1)
  t.match(
    program.stdout,
    /^FAIL {2}queue on disk {3}.*data\/queue: frequency 0\.1 wrote the file data\.mdb there, .*/m,
  )
  t.match(
    program.stdout,
    /^FAIL {2}log .*objects \(frequency\/dt=2026-11-26\/.*\) but no log, .* "frequency log build"/m,
  )
  rmSync(join(cwd, 'data/queue'), { recursive: true })
  const again = startProgram(t, path, { args: ['check'], cwd })
  await again.endsWithin(END_MS_MAX)
  t.match(again.stdout, /^FAIL {2}queue on disk {3}.*data\/spool\/0: frequency 0\.1 wrote/m)
})

t.test('prints one line per finding, and a verdict', async t => {
  const program = startProgram(t, path, { args: ['check'], cwd: temporaryDirectory(t) })
  t.equal((await program.endsWithin(END_MS_MAX)).code, 0)
  t.match(program.stdout, /^ok {4}settings {8}valid for the role all$/m)
  t.match(program.stdout, /^READY/m)
})

t.test('with RabbitMQ and S3: all is ok, and nothing is left behind', async t => {
  const bucket = await testBucket(t)
  const queue = uniqueQueueName(t)
  const env = {
    ...bucket.env,
    AMQP_URL: brokerUrl(),
    AMQP_QUEUE: queue,
    ARCHIVE_URL: `s3://${bucket.name}/events`,
    SPOOL_BYTES_MAX: '1MiB',
  }
  const first = await check(t, env)
  t.equal(first.code, 0)
  t.equal(first.result, 'fine')
  const names = [
    'broker',
    'confirms',
    'queue',
    'dead letters',
    'bucket',
    'listing',
    'missing',
    'writing',
    'multipart',
    'moving',
    'lifecycle',
    'clock',
    'log',
  ]
  for (const name of names) t.equal(first.results[name], 'ok', name)
  t.match(first.details.queue, `${queue}.dead does not exist yet`)
  t.notMatch(await rabbitmqctl('list_queues', 'name'), queue, 'no queue is made')
  t.same(await keysOf(t, bucket.name), [], 'no object is left')
  t.equal(await openUploads(t, bucket.name), 0, 'nor an upload')

  const opened = await openQueue(configOf({ ...env, SPOOL: 'off' }), silent)
  await opened.close()
  const channel = await openChannel(t)
  await channel.confirmSelect()
  await channel.basicPublish({ routingKey: `${queue}.dead` }, Buffer.from('dead'))
  const second = await check(t, env)
  t.equal(second.code, 0)
  t.match(second.details.queue, 'is declared as it should be; 0 messages')
  t.match(second.details['dead letters'], '1: frequency dead says why')
  t.equal(second.result, 'warnings')
})

t.test('a queue that was declared with other arguments', async t => {
  const queue = uniqueQueueName(t)
  const channel = await openChannel(t)
  await channel.queueDeclare({
    queue: `${queue}.dead`,
    durable: true,
    arguments: { 'x-queue-type': 'quorum' },
  })
  const { code, details } = await check(t, { AMQP_URL: brokerUrl(), AMQP_QUEUE: queue })
  t.equal(code, 1)
  t.match(details.queue, /PRECONDITION_FAILED.*\. Use another AMQP_QUEUE, or empty and delete this queue/)
})

t.test('a broker that cannot be reached, and a broker that refuses the login', async t => {
  const away = await check(t, { AMQP_URL: 'amqp://me:secret@127.0.0.1:1' })
  t.equal(away.code, 1)
  t.match(away.details.broker, 'RabbitMQ at 127.0.0.1:1 cannot be reached')
  const url = new URL(brokerUrl())
  url.password = 'secret-that-is-wrong'
  const refused = await check(t, { AMQP_URL: url.href })
  t.equal(refused.code, 1)
  t.match(refused.details.broker, /RabbitMQ at \S+ refuses the connection: ACCESS_REFUSED - /)
  t.equal(refused.results.queue, 'skipped')
})

t.test('a broker that blocks publishers', async t => {
  const broker = await startRabbitmq()
  t.teardown(() => broker.close())
  await broker.ctl('set_vm_memory_high_watermark', '0.0000001')
  const { code, results, details } = await check(t, { AMQP_URL: broker.url })
  t.equal(code, 1)
  t.match(details.confirms, 'RabbitMQ blocks publishers: low on memory')
  t.equal(results.queue, 'ok', 'the other tests run all the same')
})

t.test('a bucket that does not exist, and a server that cannot be reached', async t => {
  const { env } = await testBucket(t)
  const missing = await check(t, { ...env, ARCHIVE_URL: 's3://test-no-such-bucket' })
  t.equal(missing.code, 1)
  t.match(missing.details.bucket, 'the bucket does not exist')
  t.equal(missing.results.writing, 'skipped')
  const away = await check(t, { ...env, ARCHIVE_URL: 's3://b', AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1' })
  t.equal(away.code, 1)
  t.match(away.details.bucket, 'S3 cannot be used now')
})

t.test('a bucket in which one operation is not allowed', async t => {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket('allowed')
  const env = { ...server.env(), ARCHIVE_URL: 's3://allowed/events' }
  t.match((await check(t, env)).details.multipart, /^an object can be uploaded in parts$/)
  t.equal(server.objects('allowed').size, 0)

  for (const [operation, name] of [
    ['ListObjectsV2', 'listing'],
    ['PutObject', 'writing'],
    ['GetObject', 'missing'],
    ['GetObject', 'writing'],
    ['CreateMultipartUpload', 'multipart'],
    ['UploadPart', 'multipart'],
    ['CompleteMultipartUpload', 'multipart'],
    ['CopyObject', 'moving'],
    ['DeleteObject', 'moving'],
  ] as const) {
    server.fault(request => (request.operation === operation ? { status: 403 } : undefined))
    const { code, results, details } = await check(t, env)
    t.equal(code, 1, `${operation} is not allowed`)
    t.equal(results[name], 'trouble')
    t.match(details[name], name === 'missing' ? /403.* s3:ListBucket is not allowed/ : 'access was refused')
    t.same(server.uploads('allowed'), [])
    if (operation === 'DeleteObject')
      t.match(details['clean-up'], /events\/_frequency\/check-.* could not be deleted/)
    else t.equal(server.objects('allowed').size, 0, 'nothing is left')
  }

  for (const [operation, name, words] of [
    ['ListMultipartUploads', 'multipart', /unfinished uploads of dead archivers are not aborted/],
    ['GetBucketLifecycleConfiguration', 'lifecycle', /could not be read .*\. No rule may expire/],
  ] as const) {
    server.fault(request => (request.operation === operation ? { status: 403 } : undefined))
    const { code, details } = await check(t, env)
    t.equal(code, 0, `${operation} is not needed`)
    t.match(details[name], words)
  }
})

t.test('a server without conditional writes', async t => {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket('bucket')
  for (const [condition, words] of [
    ['unknown', /does not know conditional writes/],
    ['nowhere', /ignores If-None-Match on PutObject/],
    ['PutObject', /can be written only once/],
  ] as const) {
    server.traits.condition = condition
    const { code, details } = await check(t, { ...server.env(), ARCHIVE_URL: 's3://bucket' })
    t.equal(code, condition === 'PutObject' ? 0 : 1)
    t.match(details.writing, words)
    t.equal(server.objects('bucket').size, 0)
  }
})

t.test('an endpoint that is not a URL', async t => {
  const { env } = await testBucket(t)
  const { code, details } = await check(t, {
    ...env,
    ARCHIVE_URL: 's3://b',
    AWS_ENDPOINT_URL_S3: 'minio:9000',
  })
  t.equal(code, 1)
  t.match(details.settings, /^AWS_ENDPOINT_URL_S3 must be a URL like http:.*, not "minio:9000"/)
})

t.test('an endpoint on a host that does not exist', async t => {
  const { env } = await testBucket(t)
  const nowhere = { ...env, ARCHIVE_URL: 's3://bucket', AWS_ENDPOINT_URL_S3: 'http://nowhere.invalid:9000' }
  const { code, details } = await check(t, nowhere)
  t.equal(code, 1)
  t.match(
    details.bucket,
    /AWS_ENDPOINT_URL_S3 \(http:\/\/nowhere\.invalid:9000\): there is no host nowhere\.invalid/,
  )
  const inHost = await check(t, { ...nowhere, S3_FORCE_PATH_STYLE: 'false' })
  t.match(inHost.details.bucket, /no host bucket\.nowhere\.invalid .*S3_FORCE_PATH_STYLE=true/)
})

t.test('stops when its output is closed, and leaves nothing behind', async t => {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket('bucket')
  const env = { ...server.env(), ARCHIVE_URL: 's3://bucket/events' }
  const program = startProgram(t, path, { args: ['check'], env, cwd: temporaryDirectory(t) })
  server.fault(({ operation }) => {
    if (operation === 'CreateMultipartUpload') program.closeStdout()
    return undefined
  })
  t.match(await program.endsWithin(END_MS_MAX), { code: 141 })
  t.equal(program.stderr, '')
  t.notOk(
    server.requests.some(({ operation }) => operation === 'GetBucketLifecycleConfiguration'),
    'no step follows',
  )
  t.equal(server.objects('bucket').size, 0)
  t.strictSame(server.uploads('bucket'), [])
})

t.test('lifecycle rules that expire the log, and harmless ones', async t => {
  const bucket = await testBucket(t)
  const client = new S3Client({ forcePathStyle: true })
  t.teardown(() => client.destroy())
  const rules: [rule: Omit<LifecycleRule, 'Status' | 'ID'>, result: string, words: RegExp][] = [
    [{ Filter: { Prefix: '' }, Expiration: { Days: 30 } }, 'warning', /the rule r .* expires or archives/],
    [{ Filter: { Prefix: 'events/' }, Expiration: { Days: 30 } }, 'warning', /\(prefix "events\/"\)/],
    [
      { Filter: { Prefix: 'events/_frequency/log/' }, Expiration: { Days: 30 } },
      'warning',
      /exclude this prefix/,
    ],
    [
      { Filter: { Prefix: 'events/table/data/' }, Expiration: { Days: 30 } },
      'warning',
      /below events\/table\/, where the table is/,
    ],
    [
      { Filter: { Prefix: 'events/dt=' }, Expiration: { Days: RETENTION_DAYS + 1 } },
      'warning',
      /that the log still names.* wait for 32 days/,
    ],
    [
      { Filter: { Prefix: 'events/dt=' }, Transitions: [{ Days: 9, StorageClass: 'GLACIER' }] },
      'warning',
      /that the log still names/,
    ],
    [
      { Filter: { Prefix: 'events/dt=' }, Expiration: { Days: RETENTION_DAYS + 2 } },
      'ok',
      /no rule .*Advice: add a rule .* after two days$/,
    ],
    [
      { Filter: { Prefix: 'other/' }, Expiration: { Days: 30 } },
      'ok',
      /no rule .*Advice: add a rule .* after two days$/,
    ],
    [
      { Filter: { Prefix: '' }, AbortIncompleteMultipartUpload: { DaysAfterInitiation: 2 } },
      'ok',
      /no rule of the bucket expires objects below events\/_frequency\/$/,
    ],
  ]
  for (const [rule, result, words] of rules) {
    const Rules = [{ ...rule, ID: 'r', Status: 'Enabled' as const }]
    await client.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket: bucket.name, LifecycleConfiguration: { Rules } }),
    )
    const { code, results, details } = await check(t, {
      ...bucket.env,
      ARCHIVE_URL: `s3://${bucket.name}/events`,
      RETENTION: `${RETENTION_DAYS}d`,
    })
    t.equal(code, 0)
    t.equal(results.lifecycle, result, JSON.stringify(rule))
    t.match(details.lifecycle, words)
  }
})

t.test('a clock that differs from that of the server', async t => {
  const bucket = await testBucket(t)
  for (const [shiftMs, result, words] of [
    [-HOUR_MS, 'trouble', /36\d\d s ahead of/],
    [60_000, 'warning', /(59|60|61) s behind/],
  ] as const) {
    const endpoint = await withOtherTime(t, bucket.endpoint, shiftMs)
    const env = { ...bucket.env, AWS_ENDPOINT_URL_S3: endpoint, ARCHIVE_URL: `s3://${bucket.name}` }
    const { code, results, details } = await check(t, env)
    t.equal(results.clock, result)
    t.match(details.clock, words)
    t.equal(code, result === 'trouble' ? 1 : 0)
  }
})

/** Starts a proxy to the S3 server that changes the time in its answers. */
async function withOtherTime(t: Test, endpoint: string, shiftMs: number): Promise<string> {
  const { hostname, port } = new URL(endpoint)
  const proxy = createServer((incoming, outgoing) => {
    const { method, url: path, headers } = incoming
    const forwarded = request({ hostname, port, method, path, headers }, answer => {
      const date = new Date(Date.now() + shiftMs).toUTCString()
      outgoing.writeHead(answer.statusCode ?? 500, { ...answer.headers, date })
      answer.pipe(outgoing)
    })
    forwarded.on('error', () => outgoing.destroy())
    incoming.pipe(forwarded)
  })
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    proxy.closeAllConnections()
    proxy.close()
  })
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
}

t.test('a disk with too little room, and a directory that cannot be written', async t => {
  const DATA_DIR = temporaryDirectory(t)
  const scarce = await check(t, { DATA_DIR, SPOOL_BYTES_MAX: String(2 ** 49) })
  t.equal(scarce.code, 0)
  t.match(scarce.details.room, /are free, but SPOOL_BYTES_MAX is 512 TiB: the disk will be full first/)
  t.same(filesBelow(DATA_DIR), [])

  const file = join(DATA_DIR, 'file')
  writeFileSync(file, 'a file')
  const inTheWay = await check(t, { DATA_DIR: join(file, 'data') })
  t.equal(inTheWay.code, 1)
  t.equal(inTheWay.results['data directory'], 'trouble')
  const archive = await check(t, { DATA_DIR, ARCHIVE_URL: file })
  t.equal(archive.results.archive, 'trouble')

  const locked = join(DATA_DIR, 'locked')
  mkdirSync(locked)
  chmodSync(locked, 0o500)
  // The user root can write to every directory.
  const expected = process.getuid?.() === 0 ? 'ok' : 'trouble'
  t.equal((await check(t, { DATA_DIR: locked })).results['data directory'], expected)
})

t.test('an invalid setting', async t => {
  const { code, details } = await check(t, { BATCH_EVENTS_MAX: 'many' })
  t.equal(code, 1)
  t.match(details.settings, /^BATCH_EVENTS_MAX must be a whole number/)
})
