import { hash, randomUUID } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import * as zlib from 'node:zlib'
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3'
import t, { type Test } from 'tap'
import { buildProgram } from '../../build.ts'
import { IdRecords, mixedDigest } from '../../src/cli/verify/id-records.ts'
import { progressLine } from '../../src/cli/verify/progress-bar.ts'
import { inWords, resultOf } from '../../src/cli/verify/report.ts'
import { ScratchFile } from '../../src/cli/verify/scratch-file.ts'
import { Verifier, type VerifyFindings, type VerifyOptions } from '../../src/cli/verify/verifier.ts'
import { readConfig } from '../../src/config/config.ts'
import { idDigest } from '../../src/event/message-id.ts'
import { framingOf } from '../../src/object/format.ts'
import { objectKey } from '../../src/object/object-key.ts'
import { openStore, openStoreReader } from '../../src/store/open-store.ts'
import type { StoreReader } from '../../src/store/store.ts'
import { freePort } from '../services/ports.ts'
import { BUILT_PROGRAM, DIST, Program, ROOT } from '../services/program.ts'

const END_MS_MAX = 120_000

interface Run {
  code: number
  stdout: string
  stderr: string
}

/** Runs the built program with only these settings. */
async function frequency(args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = ROOT): Promise<Run> {
  const { ARCHIVE_URL, DATA_DIR, S3_FORCE_PATH_STYLE, ...inherited } = process.env
  const program = new Program(BUILT_PROGRAM, { args, env: { ...inherited, ...env }, cwd })
  const { code } = await program.endsWithin(END_MS_MAX)
  return { code: Number(code), stdout: program.stdout, stderr: program.stderr }
}

type Report = VerifyFindings & { code: number; result: string; error?: string }

/** Runs `verify --json`. Returns its report and its exit code. */
async function jsonOf(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Report> {
  const { code, stdout } = await frequency(['verify', '--json', ...args], env)
  return { code, ...JSON.parse(stdout) }
}

/** Verifies an archive in this process. */
async function findingsOf(
  path: string,
  options: Partial<VerifyOptions> = {},
): Promise<VerifyFindings & { result: string; words: string }> {
  const store = await openStoreReader(readConfig({ archiveUrl: path, s3ForcePathStyle: 'true' }, {}))
  try {
    const findings = await new Verifier(store, { prefix: 'frequency', listMax: 20, ...options }).run()
    const report = { archive: store.description, result: resultOf(findings), seconds: 1, ...findings }
    return { ...report, words: inWords(report) }
  } finally {
    await store.close()
  }
}

function temporaryDirectory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'frequency-test-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

function eventOf(fields: Record<string, unknown> = {}): string {
  return JSON.stringify({
    event: 'counted',
    messageId: randomUUID(),
    receivedAt: '2026-11-24T13:05:07.123Z',
    ...fields,
  })
}

function eventsOf(count: number): string[] {
  return Array.from({ length: count }, (_, n) => eventOf({ n }))
}

function idOf(event: string | undefined): string {
  return JSON.parse(event as string).messageId
}

/** The bytes of an object, as an archiver writes them. */
function bytesOf(events: readonly string[], extension = '.ndjson.gz'): Buffer {
  const { before, between, after } = framingOf(extension.startsWith('.json') ? 'json' : 'ndjson')
  const bytes = Buffer.concat([before, Buffer.from(events.join(between.toString())), after])
  return extension.endsWith('.gz') ? zlib.gzipSync(bytes) : bytes
}

function keyOf(bytes: Buffer | string, extension = '.ndjson.gz', at = '2026-11-24T13:05:07.123Z'): string {
  return objectKey('frequency', new Date(at), hash('sha256', bytes, 'hex'), extension)
}

/** Makes an archive in a directory, with these objects. Returns its path. */
function archiveOf(t: Test, objects: Record<string, Buffer | string>): string {
  const path = temporaryDirectory(t)
  for (const [key, bytes] of Object.entries(objects)) {
    mkdirSync(dirname(join(path, key)), { recursive: true })
    writeFileSync(join(path, key), bytes)
  }
  return path
}

/** Verifies an archive with one object. Returns the problems that are reported for it. */
async function problemsOf(t: Test, bytes: Buffer | string, extension?: string): Promise<string[]> {
  const report = await findingsOf(archiveOf(t, { [keyOf('first', extension)]: bytes }))
  t.equal(report.result, 'findings')
  t.equal(report.unreadable.objects, 1)
  return [...(report.unreadable.list[0]?.problems ?? [])]
}

function isBuilt(): boolean {
  if (!existsSync(BUILT_PROGRAM)) return false
  const builtAt = statSync(BUILT_PROGRAM).mtimeMs
  return ['bin', 'src', 'plugins'].every(folder =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).every(
      name => statSync(join(ROOT, folder, name)).mtimeMs <= builtAt,
    ),
  )
}

t.before(async () => {
  if (isBuilt()) return
  await buildProgram(DIST)
})

t.test('a good archive, in every format and compression', async t => {
  const objects: Record<string, Buffer> = {}
  for (const extension of ['.ndjson', '.ndjson.gz', '.json', '.json.gz']) {
    const events = eventsOf(50)
    objects[keyOf(events[0] as string, extension)] = bytesOf(events, extension)
  }
  const path = archiveOf(t, objects)
  const report = await jsonOf([path])
  t.match(report, { code: 0, result: 'clean', objects: 4, otherObjects: 0, events: 200, ids: 200 })

  const { code, stdout, stderr } = await frequency(['verify', path])
  t.equal(code, 0)
  t.equal(stderr, '', 'progress is shown only on a terminal')
  t.match(stdout, /Objects\s+4\n\s+Events\s+200\s+200 different ids\n/)
  t.match(stdout, /CLEAN: every object can be read/)
})

t.test('the location can come from the environment, and settings of other commands are ignored', async t => {
  const events = eventsOf(3)
  const path = archiveOf(t, { [keyOf(events[0] as string)]: bytesOf(events) })
  t.match(await jsonOf([], { ARCHIVE_URL: `file://${path}`, ROLE: 'archive' }), { code: 0, events: 3 })

  const dataDir = temporaryDirectory(t)
  mkdirSync(join(dataDir, 'archive'))
  t.match(await jsonOf(['--data-dir', dataDir]), { code: 0, objects: 0 })
})

t.test('an empty archive is clean, and the report says that it is empty', async t => {
  const { code, stdout } = await frequency(['verify', temporaryDirectory(t)])
  t.equal(code, 0)
  t.match(stdout, /CLEAN, but empty/)
})

t.test('an archive that does not exist is an error, and is not created', async t => {
  const path = join(temporaryDirectory(t), 'nothing')
  const { code, stdout, stderr } = await frequency(['verify', path])
  t.equal(code, 2)
  t.equal(stdout, '')
  t.match(stderr, /^frequency: archive-url: there is no directory \S+\.\n$/)
  t.notOk(existsSync(path))
  t.match(await jsonOf([path]), { code: 2, result: 'error', error: /archive-url: there is no directory/ })
})

t.test('verify does not change the archive', async t => {
  const events = eventsOf(3)
  const path = archiveOf(t, { [keyOf(events[0] as string)]: bytesOf([...events, events[0] as string]) })
  const before = readdirSync(path, { recursive: true })
  await frequency(['verify', path])
  t.same(readdirSync(path, { recursive: true }), before)
})

t.test('duplicates: in one object, and across objects', async t => {
  const [a, b, c] = eventsOf(3) as [string, string, string]
  const withOwnId = eventOf({ messageId: 'order-42' })
  const first = keyOf(a)
  const second = keyOf(b)
  const objects = {
    [first]: bytesOf([a, a, a, c, withOwnId]),
    [second]: bytesOf([b, c, withOwnId], '.ndjson.gz'),
  }
  const path = archiveOf(t, objects)
  const { code, result, events: count, ids, duplicates } = await jsonOf([path])
  t.match({ code, result, count, ids }, { code: 1, result: 'findings', count: 8, ids: 4 })
  t.equal(duplicates.events, 4)
  t.equal(duplicates.ids, 3)
  const both = [first, second].sort().map(key => ({ key, events: 1 }))
  const expected = [
    { messageId: idOf(a), events: 3, objects: [{ key: first, events: 3 }] },
    { messageId: idOf(c), events: 2, objects: both },
    { messageId: 'order-42', events: 2, objects: both },
  ]
  t.same(
    duplicates.list,
    expected.sort((x, y) => (x.messageId < y.messageId ? -1 : 1)),
  )

  const { stdout } = await frequency(['verify', path, '--list', '1'])
  t.match(stdout, /Duplicates\s+4\s+of 3 ids\n/)
  t.match(stdout, / {2}and 2 more/)
  t.match(stdout, /NOT CLEAN/)
})

t.test('consecutive ids are compared fast', async t => {
  const events = Array.from({ length: 50_000 }, (_, n) =>
    eventOf({ messageId: `00000000-0000-4000-8000-${String(n).padStart(12, '0')}` }),
  )
  const path = archiveOf(t, { [keyOf(events[0] as string)]: bytesOf([...events, events[7] as string]) })
  t.match(await findingsOf(path), { ids: 50_000, duplicates: { events: 1 } })
})

t.test('more ids than fit in memory', async t => {
  const objects: Record<string, Buffer> = {}
  const PER_OBJECT = 60_000
  for (let object = 0; object < 20; object++) {
    const lines = Array.from(
      { length: PER_OBJECT },
      (_, n) => `{"messageId":"id-${object * PER_OBJECT + n}","receivedAt":"2026-11-24T13:05:07.123Z"}`,
    )
    if (object === 19) lines.push(lines[0]?.replace(`id-${19 * PER_OBJECT}`, 'id-5') as string)
    objects[keyOf(lines[0] as string)] = zlib.gzipSync(`${lines.join('\n')}\n`, { level: 1 })
  }
  const path = archiveOf(t, objects)
  const ids = join(temporaryDirectory(t), 'ids.txt')
  writeFileSync(ids, Array.from({ length: 20 * PER_OBJECT + 2 }, (_, n) => `id-${n}\n`).join(''))
  const temporary = temporaryDirectory(t)
  const report = await jsonOf([path, '--ids', ids], { TMPDIR: temporary })
  t.match(report, { events: 20 * PER_OBJECT + 1, ids: 20 * PER_OBJECT })
  t.match(report.duplicates, { events: 1, ids: 1, list: [{ messageId: 'id-5', events: 2 }] })
  t.same(report.missing, {
    asked: 20 * PER_OBJECT + 2,
    ids: 2,
    list: [`id-${20 * PER_OBJECT}`, `id-${20 * PER_OBJECT + 1}`],
  })
  t.same(readdirSync(temporary), [], 'no temporary file is left')
})

t.test('objects that cannot be read', async t => {
  const events = eventsOf(500)
  const gzipped = bytesOf(events)
  t.match(await problemsOf(t, gzipped.subarray(0, gzipped.length - 100)), [
    /^is damaged: unexpected end of file \(after \d+ events\)$/,
  ])
  t.match(await problemsOf(t, 'no gzip at all'), [/^is damaged: incorrect header check/])
  t.same(await problemsOf(t, '', '.ndjson'), ['is empty'])
  t.match(await problemsOf(t, ''), [/^is damaged: unexpected end of file/])
  t.same(await problemsOf(t, zlib.gzipSync('')), ['is empty'])

  const plain = bytesOf(events, '.ndjson')
  t.same(await problemsOf(t, plain.subarray(0, -1), '.ndjson'), [
    'is cut short: its end is missing (after 500 events)',
  ])
  t.same(await problemsOf(t, plain.subarray(0, -10), '.ndjson'), [
    'is cut short: its end is missing (after 499 events)',
  ])
  const array = bytesOf(events, '.json')
  t.same(await problemsOf(t, array.subarray(0, -3), '.json'), [
    'is cut short: its end is missing (after 500 events)',
  ])
  t.same(await problemsOf(t, zlib.gzipSync(array.subarray(0, -2)), '.json.gz'), [
    'is cut short: its end is missing (after 500 events)',
  ])
})

t.test('lines that are not events', async t => {
  const good = eventOf()
  t.same(await problemsOf(t, `${good}\n[1]\n\n{"a":\nnull\n${eventOf()}\n`, '.ndjson'), [
    'line 2 is not a JSON object, as are 3 more',
  ])
  const invalid = Buffer.concat([Buffer.from('{"messageId":"'), Buffer.from([0xff]), Buffer.from('"}\n')])
  const replaced = eventOf({ title: '\ufffd' })
  t.same(await problemsOf(t, Buffer.concat([Buffer.from(`${replaced}\n`), invalid]), '.ndjson'), [
    'line 2 is not a JSON object',
  ])
  t.same(
    await problemsOf(
      t,
      bytesOf([
        good,
        eventOf({ messageId: undefined }),
        eventOf({ messageId: '' }),
        eventOf({ messageId: 7 }),
        eventOf({ receivedAt: undefined }),
        eventOf({ receivedAt: 'yesterday' }),
      ]),
    ),
    [
      'line 2 is an event without messageId, as are 2 more',
      'line 5 is an event without receivedAt, as are 1 more',
    ],
  )
  t.same(await problemsOf(t, `[\n${good}\n${eventOf()}\n]\n`, '.json'), ['line 3 is not a JSON object'])
  t.same(await problemsOf(t, `[\n${good},\n]\n`, '.json'), ['line 3 is not a JSON object'])
})

t.test('damage is counted, and all other objects and lines are read', async t => {
  const good = eventsOf(10)
  const path = archiveOf(t, {
    [keyOf('1')]: bytesOf(good),
    [keyOf('2')]: 'garbage',
    [keyOf('3')]: bytesOf(['garbage', eventOf({ messageId: undefined })]),
    'frequency/_SUCCESS': '',
    'frequency/dt=2026-11-24/hour=13/part-0000.parquet': 'PAR1',
    'elsewhere/file': '',
  })
  const report = await findingsOf(path)
  t.match(report, { result: 'findings', objects: 3, otherObjects: 2, events: 11, ids: 10 })
  t.match(report.unreadable, { objects: 2, notJson: 1, withoutMessageId: 1, withoutReceivedAt: 0 })
  t.match(
    report.words,
    /Unreadable objects\s+2\s+in them: 1 line without a JSON object, 1 event without messageId\n/,
  )
  t.match(report.words, /Other objects\s+2\s+not written by frequency, not read\n/)
})

t.test('the line breaks U+2028, U+2029 and U+0085 do not end a line', async t => {
  const event = eventOf({ title: 'a\u2028b\u2029c\u0085d' })
  t.match(await findingsOf(archiveOf(t, { [keyOf(event)]: bytesOf([event, eventOf()]) })), {
    result: 'clean',
    events: 2,
  })
})

t.test('missing ids', async t => {
  const events = [...eventsOf(20), eventOf({ messageId: 'order 42' })]
  const path = archiveOf(t, { [keyOf(events[0] as string)]: bytesOf(events) })
  const ids = join(temporaryDirectory(t), 'ids.txt')
  writeFileSync(ids, `\ufeff${events.map(idOf).join('\r\n')}`)
  t.match(await findingsOf(path, { idsFile: ids }), {
    result: 'clean',
    missing: { asked: 21, ids: 0, list: [] },
  })

  writeFileSync(ids, `lost-2\n${events.map(idOf).join('\n')}\n\nlost-1\nlost-2\nlost-3\n`)
  const report = await jsonOf([path, '--ids', ids, '--list', '2'])
  t.match(report, { code: 1, result: 'findings' })
  t.same(report.missing, { asked: 24, ids: 3, list: ['lost-2', 'lost-1'] })
  t.match((await findingsOf(path, { idsFile: ids })).words, /Missing ids\s+3\s+of 24 that must be there\n/)

  t.match(await frequency(['verify', path, '--ids', `${ids}.none`]), { code: 2, stderr: /--ids: .*ENOENT/ })
  await t.rejects(findingsOf(path, { idsFile: path }), { message: /--ids: .*EISDIR/ })
})

t.test('events of several sources may have the same id', async t => {
  const event = (source: unknown, n: number) => eventOf({ messageId: 'order-1001', source, n })
  const sources = [undefined, 'web', 'backend', 'web\ud800', 'web\udc00']
  const first = bytesOf(sources.map(event))
  const second = bytesOf(['web', 7, 'web'].map(event), '.ndjson')
  const key = keyOf('1', '.ndjson')
  const path = archiveOf(t, { [keyOf('0')]: first, [key]: second })
  const { words, ...findings } = await findingsOf(path)
  t.match(findings, { result: 'findings', events: 8, ids: 5, duplicates: { events: 3, ids: 2 } })
  t.match(findings.duplicates.list, [
    { messageId: 'order-1001', source: undefined, events: 2 },
    { messageId: 'order-1001', source: 'web', events: 3 },
  ])
  t.match(words, /order-1001 {2}2 times\n/)
  t.match(words, /order-1001 of source web {2}3 times\n/)

  t.match(await findingsOf(archiveOf(t, { [keyOf('0')]: first })), { result: 'clean', ids: 5 })
})

t.test('an id of --ids is found in an event of any source', async t => {
  const path = archiveOf(t, {
    [keyOf('0')]: bytesOf([
      eventOf({ messageId: 'order-1', source: 'web' }),
      eventOf({ messageId: 'order-2', source: 'web' }),
      eventOf({ messageId: 'order-2', source: 'backend' }),
      eventOf({ messageId: 'order-3' }),
      eventOf({ messageId: 'order-4', source: null }),
    ]),
  })
  const idsFile = join(temporaryDirectory(t), 'ids.txt')
  writeFileSync(idsFile, 'order-1\norder-2\norder-3\norder-4\norder-1\n')
  t.match(await findingsOf(path, { idsFile }), { result: 'clean', missing: { asked: 4, ids: 0, list: [] } })
  writeFileSync(idsFile, 'order-5\norder-1\nweb\norder-5\n')
  const { missing } = await findingsOf(path, { idsFile })
  t.same(missing, { asked: 3, ids: 2, list: ['order-5', 'web'] })
})

t.test('a range of partitions', async t => {
  const path = archiveOf(
    t,
    Object.fromEntries(
      ['2026-11-23T23', '2026-11-24T00', '2026-11-24T13', '2026-11-25T00'].map(hour => [
        keyOf(hour, '.ndjson.gz', `${hour}:30:00.000Z`),
        bytesOf([eventOf()]),
      ]),
    ),
  )
  const objectsOf = async (from?: string, to?: string) => (await findingsOf(path, { from, to })).objects
  t.equal(await objectsOf('2026-11-24T00'), 3)
  t.equal(await objectsOf(undefined, '2026-11-24T23'), 3)
  t.equal(await objectsOf('2026-11-24T00', '2026-11-24T23'), 2)
  t.match(await jsonOf([path, '--from', '2026-11-24', '--to', '2026-11-24T13:59:00Z']), {
    objects: 2,
    from: '2026-11-24T00',
    to: '2026-11-24T13',
  })
  t.match(await frequency(['verify', path, '--from', '2026-02-30']), { code: 2, stderr: /--from/ })
  t.match(await frequency(['verify', path, '--from', '2026-11-25', '--to', '2026-11-24']), {
    code: 2,
    stderr: /is after/,
  })
})

t.test('wrong arguments exit with 2', async t => {
  t.match(await frequency(['verify', '--no-such-option']), { code: 2, stderr: /unknown option/ })
  t.match(await frequency(['verify', 'ftp://somewhere']), { code: 2, stderr: /archive-url must be/ })
  t.match(await frequency(['verify', '--help']), { code: 0, stdout: /--ids <file>/ })
})

t.test('zstd, if this Node cannot read it', { skip: canZstd() && 'this Node can' }, async t => {
  const path = archiveOf(t, { [keyOf('first', '.ndjson.zst')]: 'bytes' })
  t.match(await frequency(['verify', path]), { code: 2, stderr: /zstd\. Reading it needs Node 22\.15/ })
})

function canZstd(): boolean {
  return 'createZstdDecompress' in zlib
}

t.test('S3', { skip: process.env.TEST_S3_ENDPOINT === undefined && 'no S3 server' }, async t => {
  const bucket = `verify-${randomUUID()}`
  const client = new S3Client({ forcePathStyle: true })
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  const keysOf = async (): Promise<string[]> => {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
    return Contents.map(({ Key }) => Key as string)
  }
  t.teardown(async () => {
    for (const Key of await keysOf()) await client.send(new DeleteObjectCommand({ Bucket: bucket, Key }))
    await client.send(new DeleteBucketCommand({ Bucket: bucket }))
    client.destroy()
  })
  const url = `s3://${bucket}/frequency`
  const env = { S3_FORCE_PATH_STYLE: 'true' }
  t.match(await findingsOf(url), { result: 'clean', objects: 0 })
  t.same(await keysOf(), [], 'no probe was written')

  const store = await openStore(readConfig({ archiveUrl: url }, env))
  t.teardown(() => store.close())
  const put = (key: string, bytes: Buffer) => store.put(key, Readable.from([bytes]))
  const events = eventsOf(2000)
  await put(keyOf(events[0] as string), bytesOf(events))
  await put(keyOf('array', '.json'), bytesOf(eventsOf(10), '.json'))
  t.match(await jsonOf([url], env), { code: 0, objects: 2, events: 2010, ids: 2010 })

  await put(keyOf('again'), bytesOf(events.slice(0, 5)))
  await put(keyOf('cut'), bytesOf(eventsOf(500)).subarray(0, 1000))
  const keys = await keysOf()
  const report = await findingsOf(url)
  t.match(report, {
    result: 'findings',
    objects: 4,
    duplicates: { events: 5, ids: 5 },
    unreadable: { objects: 1 },
  })
  t.match(report.unreadable.list, [{ key: keyOf('cut'), problems: [/unexpected end of file/] }])
  t.same(await keysOf(), keys)

  await t.rejects(findingsOf(`s3://no-such-bucket-${randomUUID()}`), { message: /the bucket does not exist/ })
  const nobody = { ...env, AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${await freePort()}` }
  t.match(await jsonOf([url], nobody), { code: 2, result: 'error', error: /ECONNREFUSED/ })
})

t.test('an object that the store cannot read', async t => {
  const key = keyOf('loop')
  const path = archiveOf(t, { [keyOf('open')]: bytesOf(eventsOf(3)) })
  symlinkSync(join(path, key), join(path, key))
  const report = await jsonOf([path])
  t.match(report, { code: 2, result: 'incomplete', events: 3, unfetched: { objects: 1 } })
  t.match(report.unfetched.list, [{ key, problems: [/ELOOP/] }])
})

t.test('a read that breaks off is repeated, and no event counts twice', async t => {
  const events = eventsOf(5000)
  const bytes = bytesOf(events, '.json')
  const path = archiveOf(t, { [keyOf('long', '.json')]: bytes })
  const store = await openStoreReader(readConfig({ archiveUrl: path }, {}))
  t.teardown(() => store.close())
  let reads = 0
  const breaking: StoreReader = {
    description: store.description,
    list: prefix => store.list(prefix),
    close: () => store.close(),
    localPath: key => store.localPath(key),
    read: (key, range) => store.read(key, range),
    get: async key => (reads++ < 2 ? Readable.from(brokenOff(bytes, reads * 400_000)) : store.get(key)),
  }
  const findings = await new Verifier(breaking, { prefix: 'frequency', listMax: 20 }).run()
  t.equal(reads, 3)
  t.match(findings, {
    events: 5000,
    ids: 5000,
    duplicates: { events: 0 },
    unreadable: { objects: 0 },
    unfetched: { objects: 0 },
  })
})

async function* brokenOff(bytes: Buffer, length: number): AsyncIterable<Buffer> {
  for (let at = 0; at < length; at += 16_384) {
    yield bytes.subarray(at, Math.min(length, at + 16_384))
    await new Promise(resolve => setImmediate(resolve))
  }
  throw new Error('the connection was reset')
}

t.test('id records are read in parts, each id in one part', async t => {
  const scratch = new ScratchFile()
  t.teardown(() => scratch.close())
  const idRecords = new IdRecords(scratch)
  const COUNT = 5000
  for (let n = 0; n < COUNT; n++) idRecords.add(idDigest(`id-${n}`), n)
  const found: number[] = []
  for (const { partition } of idRecords.shares()) {
    for (let part = 0; part < 3; part++) {
      idRecords.read({ partition, part, parts: 3 }, (digest, place) => {
        if (digest.equals(mixedDigest(idDigest(`id-${place}`)))) found.push(place)
      })
    }
  }
  t.same(
    found.sort((a, b) => a - b),
    Array.from({ length: COUNT }, (_, n) => n),
  )
})

t.test('the progress line', async t => {
  const progress = { objects: 250, objectsKnown: 1000, events: 250_000, records: 1234, compared: 0.5 }
  t.equal(
    progressLine({ phase: 'reading', isListed: true, ...progress }, 2000),
    '[#####               ]  25%  250/1,000 objects  250,000 events  125,000/s',
  )
  t.match(progressLine({ phase: 'reading', isListed: false, ...progress }, 0), /250\/1,000\+ objects/)
  t.match(progressLine({ phase: 'log', isListed: true, ...progress }, 1), /reading the log, 1,234 records/)
  t.match(progressLine({ phase: 'comparing', isListed: true, ...progress }, 1), /^\[#{10} {10}\] {2}50%/)
})
