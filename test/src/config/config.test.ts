import { join, resolve } from 'node:path'
import * as zlib from 'node:zlib'
import { type Test, test } from 'tap'
import { parseOrigins, parseProxies } from '../../../src/config/client-settings.ts'
import { readConfig, settings } from '../../../src/config/config.ts'
import { ConfigInvalid } from '../../../src/errors.ts'
import { configOf } from '../../helpers/helper.ts'

const AMQP_URL = 'amqp://guest:guest@127.0.0.1:5672'
const BROKER = { AMQP_URL, ARCHIVE_URL: 's3://bucket' }

function refusal(env: Record<string, string>): Error {
  try {
    readConfig({}, env)
  } catch (error) {
    return error as Error
  }
  return new Error('not refused')
}

/** That it is refused in one line which begins with the setting's name. */
function refuses(t: Test, env: Record<string, string>, variable: string, pattern = /./): void {
  const error = refusal(env)
  const what = JSON.stringify(env)
  t.ok(error instanceof ConfigInvalid, `${what} is refused`)
  t.match(error, { code: 'FRQ_CONFIG_INVALID', message: pattern }, what)
  t.match(error.message, new RegExp(`^${variable}\\b`), `${what}: its name comes first`)
  t.notMatch(error.message, /[\r\n]/, `${what}: one line`)
}

test('everything has a default', async t => {
  t.match(configOf(), {
    role: 'all',
    host: '127.0.0.1',
    port: 4000,
    logLevel: 'info',
    dataDir: './data',
    amqpUrl: undefined,
    amqpQueue: 'tracks',
    archiveFormat: 'ndjson',
    archiveCompression: 'gzip',
    s3ForcePathStyle: false,
    batchEventsMax: 1000,
    batchAgeMsMax: 10_000,
    bodyBytesMax: 1024 * 1024,
    archive: { kind: 'directory', path: resolve('data/archive'), prefix: 'frequency', setting: 'DATA_DIR' },
  })
})

test('a setting is read from its variable', async t => {
  const config = configOf({
    ROLE: 'ingest',
    PORT: '0',
    AMQP_URL,
    ARCHIVE_FORMAT: 'json',
    BATCH_EVENTS_MAX: '50',
    S3_FORCE_PATH_STYLE: 'true',
  })
  t.match(config, {
    role: 'ingest',
    port: 0,
    amqpUrl: AMQP_URL,
    archiveFormat: 'json',
    batchEventsMax: 50,
    s3ForcePathStyle: true,
  })
})

test('a flag wins over its variable', async t => {
  const env = { PORT: '6000', HOST: '::1' }
  t.match(readConfig({ port: '5000' }, env), { port: 5000, host: '::1' })
  t.match(readConfig({ port: '5000' }, { PORT: 'nonsense' }), { port: 5000 })
})

test('an empty variable counts as not set', async t => {
  t.same(configOf(Object.fromEntries(settings.map(({ variable }) => [variable, '']))), configOf())
})

test('variables of other programs are ignored', async t => {
  t.same(configOf({ PATH: '/bin', BATCH_EVENTS: '7', port: '7' }), configOf())
})

test('a config cannot be changed', async t => {
  t.ok(Object.isFrozen(configOf()))
})

test('variable and flag have the same name', async t => {
  for (const { name, variable, flag } of settings) {
    t.match(variable, /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/)
    t.equal(flag, `--${variable.toLowerCase().replaceAll('_', '-')}`)
    t.equal(name.toLowerCase(), variable.toLowerCase().replaceAll('_', ''))
  }
})

test('a size may have a unit', async t => {
  for (const size of ['2097152', '2097152B', '2048KiB', '2MiB', '2mib', '2 MiB'])
    t.equal(configOf({ BODY_BYTES_MAX: size }).bodyBytesMax, 2 * 1024 * 1024, size)
  t.equal(configOf({ BODY_BYTES_MAX: '2MB' }).bodyBytesMax, 2_000_000)
  t.equal(configOf({ SPOOL_BYTES_MAX: '1GB' }).spoolBytesMax, 1_000_000_000)
  t.equal(configOf({ SPOOL_BYTES_MAX: '1GiB' }).spoolBytesMax, 1024 ** 3)
  for (const size of ['2M', '1.5MiB', 'MiB', '2 MiB more', '10s'])
    refuses(t, { BODY_BYTES_MAX: size }, 'BODY_BYTES_MAX', /\(bytes\), or one with a unit \(64KiB, 16MiB/)
})

test('a time may have a unit', async t => {
  for (const time of ['60000', '60000ms', '60s', '60 s', '1m', '1M'])
    t.equal(configOf({ BATCH_AGE_MS_MAX: time }).batchAgeMsMax, 60_000, time)
  t.equal(configOf({ DEDUPE_WINDOW_MS: '2h' }).dedupeWindowMs, 7_200_000)
  t.equal(configOf({ DEDUPE_WINDOW_MS: '7d' }).dedupeWindowMs, 7 * 86_400_000)
  for (const time of ['1.5s', '10 sec', 's', '-1s', '1h30m', '1MiB', '60d'])
    refuses(
      t,
      { BATCH_AGE_MS_MAX: time },
      'BATCH_AGE_MS_MAX',
      /\(milliseconds\), or one with a unit \(500ms, 10s/,
    )
})

test('a setting takes units exactly if its name has one', async t => {
  for (const { variable, schema } of settings.filter(({ schema }) => schema.type === 'integer')) {
    const unit = /_MS(_|$)|RETENTION$/.test(variable)
      ? 'ms'
      : /_(BYTES|MEMORY)(_|$)/.test(variable)
        ? 'bytes'
        : undefined
    t.equal(schema.unit, unit, variable)
  }
  for (const count of ['1KiB', '10s']) refuses(t, { BATCH_EVENTS_MAX: count }, 'BATCH_EVENTS_MAX')
})

test('a switch has several words for true and for false', async t => {
  for (const yes of ['true', 'TRUE', '1', 'on']) t.ok(configOf({ S3_FORCE_PATH_STYLE: yes }).s3ForcePathStyle)
  for (const no of ['false', '0', 'off']) t.notOk(configOf({ S3_FORCE_PATH_STYLE: no }).s3ForcePathStyle)
})

const withIntegers = settings.filter(({ schema }) => schema.type === 'integer')
const withChoices = settings.filter(({ schema }) => schema.anyOf !== undefined)
const withSwitches = settings.filter(({ schema }) => schema.type === 'boolean')

test('every number refuses a text that is not a whole number, and a number out of range', async t => {
  t.ok(withIntegers.length > 5)
  for (const { variable, schema } of withIntegers) {
    const outside = [schema.minimum - 1, schema.maximum === undefined ? 10 ** 15 : schema.maximum + 1]
    const nonsense = ['x', '1.5', '-1', '+5', '1e3', '0x10', ' ', 'NaN', 'Infinity', '٣', '5\n5']
    for (const text of [...outside.map(String), ...nonsense]) {
      refuses(
        t,
        { [variable]: text },
        variable,
        /must be a (whole number (from \d+ to \d+|of at least \d+)|time of at least)/,
      )
    }
  }
})

test('every choice refuses any other value, and lists its values', async t => {
  t.ok(withChoices.length >= 4)
  for (const { variable, schema } of withChoices) {
    const choices = schema.anyOf.map((each: { const: string }) => each.const).join(', ')
    for (const text of ['nonsense', 'ALL', ' ', 'toString']) {
      refuses(t, { [variable]: text }, variable, new RegExp(`must be one of ${choices}`))
    }
  }
})

test('every switch refuses other words', async t => {
  t.ok(withSwitches.length >= 1)
  for (const { variable } of withSwitches) {
    for (const text of ['maybe', '2', 'constructor'])
      refuses(t, { [variable]: text }, variable, /true or false/)
  }
})

test('a refusal is one short line, also if the value is long', async t => {
  const { message } = refusal({ PORT: `${'9'.repeat(100_000)}\nand more` })
  t.ok(message.length < 300)
  refuses(t, { AMQP_QUEUE: 'q'.repeat(201) }, 'AMQP_QUEUE', /at most 200/)
})

test('separate roles need a broker', async t => {
  for (const role of ['ingest', 'archive']) {
    refuses(t, { ROLE: role }, 'ROLE', /needs AMQP_URL/)
    t.equal(configOf({ ROLE: role, ...BROKER }).role, role)
  }
})

test('AMQP_URL must be a URL of AMQP', async t => {
  const wrong = [
    'localhost',
    'localhost:5672',
    'http://localhost',
    'amqp//localhost',
    'amqp://h:99999',
    'amqp://h:x',
  ]
  for (const url of [...wrong, 'amqp://user%zz@h', 'amqp://h/%']) refuses(t, { AMQP_URL: url }, 'AMQP_URL')
  for (const url of [AMQP_URL, 'amqps://h', 'amqp://us%40er:p%2Fw@h/my%2Fvhost?heartbeat=5']) {
    t.equal(configOf({ ...BROKER, AMQP_URL: url }).amqpUrl, url)
  }
})

test('AMQP_QUEUE must be a valid queue name, also with .dead behind it', async t => {
  for (const name of ['amq.tracks', 'é'.repeat(126), 'q'.repeat(201)])
    refuses(t, { AMQP_QUEUE: name }, 'AMQP_QUEUE')
  for (const name of ['tracks', 'é'.repeat(125), 'q'.repeat(200)])
    t.equal(configOf({ AMQP_QUEUE: name }).amqpQueue, name)
})

test('no refusal has a secret', async t => {
  const secret = 'hunter2'
  const refused = [
    { AMQP_URL: `http://user:${secret}@host` },
    { AMQP_URL: `amqp//user:${secret}@host` },
    { AMQP_URL: `amqp://user:${secret}@host:99999` },
    { AMQP_URL: `amqp://user:${secret}%zz@host` },
    { ...BROKER, AMQP_URL: `amqp://user:${secret}@host`, AMQP_PREFETCH: '1' },
    { AMQP_URL: `amqp://user:${secret}@host`, PORT: 'x' },
    { ARCHIVE_URL: `s3://key:${secret}@bucket/prefix` },
    { ARCHIVE_URL: `https://key:${secret}@bucket.s3.amazonaws.com` },
    { ARCHIVE_URL: `s3://key:${secret}@bucket/%zz` },
  ]
  for (const env of refused) {
    const error = refusal(env)
    t.type(error, ConfigInvalid)
    const shown = [error.message, error.stack, JSON.stringify(error), String(error.cause)].join('\n')
    t.notMatch(shown, secret, Object.keys(env).join())
  }
})

function directory(path: string, setting = 'ARCHIVE_URL'): object {
  return { kind: 'directory', path, prefix: 'frequency', setting }
}

test('ARCHIVE_URL is a bucket or a directory', async t => {
  const locations: [string, object][] = [
    ['s3://bucket', { kind: 's3', bucket: 'bucket', prefix: 'frequency' }],
    ['s3://bucket/', { kind: 's3', bucket: 'bucket', prefix: 'frequency' }],
    ['s3://my.bucket-1/events/web/', { kind: 's3', bucket: 'my.bucket-1', prefix: 'events/web' }],
    ['s3://bucket/a%20b', { kind: 's3', bucket: 'bucket', prefix: 'a b' }],
    ['archive', directory(resolve('archive'))],
    ['/var/lib/archive', directory('/var/lib/archive')],
    ['file:///var/lib/my%20archive', directory('/var/lib/my archive')],
  ]
  for (const [url, location] of locations) t.same(configOf({ ARCHIVE_URL: url }).archive, location, url)

  const refused = [
    's3://',
    's3:///prefix',
    's3://bucket?region=eu',
    's3://bucket#part',
    's3://bucket/%zz',
    'https://bucket.s3.amazonaws.com',
    'file://host/path',
    'file:///a%2Fb',
    'file:///%zz',
  ]
  for (const url of refused) refuses(t, { ARCHIVE_URL: url }, 'ARCHIVE_URL')
})

test('without ARCHIVE_URL the archive is in DATA_DIR', async t => {
  const { archive } = configOf({ DATA_DIR: '/srv/frequency' })
  t.same(archive, directory(join('/srv/frequency', 'archive'), 'DATA_DIR'))
})

test('CORS_ORIGINS are origins in the form that browsers send', async t => {
  const origins = [
    '*',
    'https://a.example',
    'http://a:8080,https://*.a.example',
    'HTTPS://A.example',
    'capacitor://localhost',
  ]
  for (const text of origins) t.equal(configOf({ CORS_ORIGINS: text }).corsOrigins, text)
  t.same(parseOrigins('HTTPS://A.Example:443, http://a:8080,https://bücher.example'), [
    'https://a.example',
    'http://a:8080',
    'https://xn--bcher-kva.example',
  ])
  for (const text of [
    'a.example',
    'https://a.example/',
    'https://a.example/path',
    'https://*',
    'https://a.*',
    'https://u@a.example',
    '*,https://a.example',
    ',',
    'null',
    'https://a.example?x',
    'https://a b',
  ])
    refuses(t, { CORS_ORIGINS: text }, 'CORS_ORIGINS', /https:\/\/example.com/)
})

test('TRUST_PROXY is a list of addresses and networks', async t => {
  t.same(parseProxies('loopback, 10.0.0.0/8,2001:db8::/32 ,192.0.2.7'), [
    'loopback',
    '10.0.0.0/8',
    '2001:db8::/32',
    '192.0.2.7',
  ])
  for (const text of [
    'true',
    '1',
    '*',
    '10.0.0.0/33',
    '10.0.0.0/0',
    '10.0.0/8',
    'proxy.internal',
    '10.0.0.1/8/8',
    ',',
    '::1/129',
  ])
    refuses(t, { TRUST_PROXY: text }, 'TRUST_PROXY', /addresses or networks/)
})

test('RATE_KEY_MAX needs write keys', async t => {
  refuses(t, { RATE_KEY_MAX: '5' }, 'RATE_KEY_MAX', /WRITE_KEYS/)
  t.equal(configOf({ RATE_KEY_MAX: '5', WRITE_KEYS: 'a=b' }).rateKeyMax, 5)
})

test('a consumer holds the events of 18 batches, within AMQP_PREFETCH', async t => {
  t.equal(configOf().prefetchEvents, 32_000)
  t.equal(configOf({ BATCH_EVENTS_MAX: '10000' }).prefetchEvents, 180_000)
  t.equal(configOf({ BATCH_EVENTS_MAX: '1000000' }).amqpPrefetch, 18_000_000)
  t.equal(configOf(BROKER).amqpPrefetch, 65_535)
  t.equal(configOf({ ...BROKER, AMQP_PREFETCH: '1000' }).amqpPrefetch, 1000)
})

test('with AMQP_URL a role that archives needs ARCHIVE_URL', async t => {
  for (const ROLE of ['all', 'archive']) refuses(t, { AMQP_URL, ROLE }, 'ARCHIVE_URL', /AMQP_URL needs it/)
  refuses(t, { AMQP_URL, ARCHIVE_URL: '' }, 'ARCHIVE_URL', /AMQP_URL needs it/)
  t.equal(configOf({ AMQP_URL, ROLE: 'ingest' }).role, 'ingest')
  t.equal(configOf({ ...BROKER, ROLE: 'archive' }).role, 'archive')
})

test('a batch that is larger than the prefetch is refused', async t => {
  refuses(t, { ...BROKER, AMQP_PREFETCH: '999' }, 'AMQP_PREFETCH', /BATCH_EVENTS_MAX \(1000\)/)
  refuses(t, { AMQP_PREFETCH: '999' }, 'AMQP_PREFETCH', /BATCH_EVENTS_MAX \(1000\)/)
  refuses(t, { ...BROKER, BATCH_EVENTS_MAX: '65536' }, 'BATCH_EVENTS_MAX', /65535/)
  t.ok(
    configOf({ BATCH_EVENTS_MAX: '200000' }).amqpPrefetch >= 200_000,
    'the embedded queue has no such limit',
  )
})

test('BATCH_AGE_MS_MAX is at most half of AMQP_ACK_TIMEOUT_MS', async t => {
  const env = { ...BROKER, AMQP_ACK_TIMEOUT_MS: '60000' }
  refuses(t, { ...env, BATCH_AGE_MS_MAX: '30001' }, 'BATCH_AGE_MS_MAX', /AMQP_ACK_TIMEOUT_MS \(60000 ms\)/)
  t.equal(configOf({ ...env, BATCH_AGE_MS_MAX: '30000' }).batchAgeMsMax, 30_000)
  t.equal(configOf({ BATCH_AGE_MS_MAX: '86400000' }).batchAgeMsMax, 86_400_000)
})

test('zstd is refused if Node does not have it', async t => {
  const env = { ARCHIVE_COMPRESSION: 'zstd' }
  if ('createZstdCompress' in zlib) t.equal(configOf(env).archiveCompression, 'zstd')
  else refuses(t, env, 'ARCHIVE_COMPRESSION', /Node 22\.15/)
})

test('ADMIN_HOST needs ADMIN_PORT', async t => {
  refuses(t, { ADMIN_HOST: '0.0.0.0' }, 'ADMIN_HOST', /needs ADMIN_PORT/)
  t.equal(configOf({ ADMIN_HOST: '0.0.0.0', ADMIN_PORT: '0' }).adminHost, '0.0.0.0')
  t.equal(configOf({ ADMIN_HOST: '127.0.0.1' }).adminPort, undefined)
})

test('variables of the AWS SDK are checked if the archive is a bucket', async t => {
  const ARCHIVE_URL = 's3://bucket'
  const wrong: [variable: string, value: string, words: RegExp][] = [
    ['AWS_ENDPOINT_URL_S3', 'nonsense', /a URL like http:\/\/127\.0\.0\.1:9000.*, not "nonsense"/],
    ['AWS_ENDPOINT_URL_S3', 'minio:9000', /not "minio:9000"/],
    ['AWS_ENDPOINT_URL', 'ftp://host', /a URL like/],
    ['AWS_ENDPOINT_URL', 'http://', /a URL like/],
    ['AWS_REGION', 'eu central', /the name of a region, like eu-central-1, not "eu central"/],
    ['AWS_USE_FIPS_ENDPOINT', 'yes', /one of true, false, not "yes"/],
    ['AWS_REQUEST_CHECKSUM_CALCULATION', 'never', /one of WHEN_SUPPORTED, WHEN_REQUIRED/],
    ['AWS_SECRET_ACCESS_KEY', 'hush', /^AWS_ACCESS_KEY_ID is not set, but AWS_SECRET_ACCESS_KEY is/],
    ['AWS_ACCESS_KEY_ID', 'me', /^AWS_SECRET_ACCESS_KEY is not set/],
  ]
  for (const [variable, value, words] of wrong) {
    const { message } = refusal({ ARCHIVE_URL, [variable]: value })
    t.match(message, words)
    t.match(message, variable)
    t.notMatch(message, 'hush')
    t.doesNotThrow(() => configOf({ [variable]: value }), 'a directory needs none of them')
    t.doesNotThrow(() => configOf({ ARCHIVE_URL, AMQP_URL, ROLE: 'ingest', [variable]: value }))
  }
  t.notMatch(refusal({ ARCHIVE_URL, AWS_ENDPOINT_URL: 'http://me:hush@host' }).message, 'hush')
  const right = {
    AWS_ENDPOINT_URL_S3: 'http://[::1]:9000/path',
    AWS_REGION: 'eu-central-1',
    AWS_ENDPOINT_URL: '',
  }
  t.equal(configOf({ ARCHIVE_URL, ...right, AWS_PROFILE: 'p', AWS_ACCESS_KEY_ID: 'me' }).archive.kind, 's3')
})

test('retention is in days, and never within the window of known ids', async t => {
  const day = 24 * 60 * 60 * 1000
  t.match(configOf({ RETENTION: '2y', RAW_RETENTION: '400d' }), {
    retention: 730 * day,
    rawRetention: 400 * day,
  })
  t.match(configOf({ RETENTION: '52w' }), { retention: 364 * day, rawRetention: undefined })
  refuses(t, { RETENTION: '90' }, 'RETENTION', /at least 2 days, as 90d/)
  refuses(t, { RETENTION: '3m' }, 'RETENTION', /at least 2 days/)
  refuses(t, { RETENTION: '101y' }, 'RETENTION')
  refuses(t, { RETENTION: '7d', DEDUPE_WINDOW_MS: '7d' }, 'RETENTION', /and a day \(8d\)/)
  refuses(t, { RAW_RETENTION: '7d', DEDUPE_WINDOW_MS: '7d' }, 'RAW_RETENTION', /and a day \(8d\)/)
  refuses(t, { RETENTION: '30d', RAW_RETENTION: '31d' }, 'RAW_RETENTION', /at most RETENTION/)
})
