/** Runs `frequency query` of the built program, on a directory and on an S3 server, beside a server that archives. */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import t, { type Test } from 'tap'
import {
  archivedEvent,
  build,
  damage,
  objectOf,
  openArchive,
  putObject,
  STORE_KINDS,
  startArchiver,
  type TestArchive,
} from '../helpers/archive-by-hand.ts'
import { eventOf, range, temporaryDirectory } from '../helpers/helper.ts'
import { startServer } from '../helpers/s3-helper.ts'
import { until } from '../services/wait.ts'
import { buildProgram, type Run, runProgram, startProgram } from './program.ts'

const END_MS_MAX = 120_000
const WAIT_MS_MAX = 30_000

const path = await buildProgram(t)

/** @param env with a DATA_DIR, so that runs share a cache */
async function query(t: Test, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Run> {
  return await runProgram(t, path, ['query', ...args], { ...process.env, ...env })
}

async function answerOf(
  t: Test,
  sql: string,
  env: NodeJS.ProcessEnv,
  ...flags: string[]
): Promise<unknown[]> {
  const { code, stdout, stderr } = await query(t, [sql, '--format=json', ...flags], env)
  t.match({ code, stderr }, { code: 0, stderr: '' })
  return JSON.parse(stdout)
}

const hourOf = (ms: number): string => new Date(ms).toISOString()

/** An archive with a log, of objects with these events. */
async function archiveOf(
  t: Test,
  kind: 'directory' | 's3',
  objects: readonly (readonly string[])[],
): Promise<TestArchive> {
  const archive = await openArchive(t, kind)
  for (const events of objects) await putObject(archive, objectOf(events))
  await build(archive, archive.store)
  return archive
}

function envOf(t: Test, { settings }: TestArchive): NodeJS.ProcessEnv {
  return { ...settings, DATA_DIR: temporaryDirectory(t) }
}

for (const kind of STORE_KINDS) {
  t.test(`the archive answers, on ${kind}`, async t => {
    const objects = range(3).map(n => range(4).map(m => archivedEvent({ user_id: `u${m}`, n: 10 * n + m })))
    const archive = await archiveOf(t, kind, objects)
    const env = envOf(t, archive)
    const sql =
      "select count(*) as events, count(distinct user_id) as users, sum((extra->>'n')::int) as n from events"
    t.strictSame(await answerOf(t, sql, env), [{ events: 12, users: 4, n: 138 }])
    t.strictSame(await answerOf(t, sql, env), [{ events: 12, users: 4, n: 138 }], 'again, from the cache')

    await putObject(archive, objectOf([archivedEvent({ user_id: 'new' })]))
    t.strictSame(await answerOf(t, sql, env), [{ events: 12, users: 4, n: 138 }], 'only what the log names')
  })

  t.test(`an answer is exact to the last batch beside an archiver, on ${kind}`, async t => {
    const archive = await openArchive(t, kind)
    const archiver = await startArchiver(t, archive)
    const env = envOf(t, archive)
    let sent = 0
    for (const count of [10, 20, 40]) {
      await archiver.publish(range(count).map(n => eventOf({ event: 'counted', n: sent + n })))
      sent += count
      await archiver.holds(sent / 10)
      t.strictSame(
        await answerOf(t, "select count(distinct extra->>'n') as n, count(*) as c from events", env),
        [{ n: sent, c: sent }],
      )
    }
  })
}

t.test('a batch whose record is written, and whose object is not, is in the answer', async t => {
  const server = await startServer(t)
  const settings = { ARCHIVE_URL: 's3://bucket/p', S3_FORCE_PATH_STYLE: 'true' }
  let isAway = true
  server.fault(({ operation, key }) => {
    const makesObject = (operation === 'PutObject' || operation === 'CopyObject') && key.startsWith('p/dt=')
    return isAway && makesObject ? { status: 503 } : undefined
  })
  const archiver = await startArchiver(t, { settings })
  const padding = 'x'.repeat(300_000)
  const events = range(20).map(n =>
    eventOf({ event: 'counted', n, ...(n >= 10 && { padding: `${padding}${Math.random()}` }) }),
  )
  void archiver.publish(events)
  await until('both records are there', WAIT_MS_MAX, () =>
    server.objects('bucket').has('p/_frequency/log/0000000000000002'),
  )
  const env = { ...settings, DATA_DIR: temporaryDirectory(t) }
  const sql = "select count(*)::int as c, count(distinct extra->>'n')::int as n from events"
  t.notOk([...server.objects('bucket').keys()].some(key => key.startsWith('p/dt=')))
  t.strictSame(await answerOf(t, sql, env), [{ c: 20, n: 20 }])
  isAway = false
  await archiver.holds(2)
  t.strictSame(await answerOf(t, sql, env), [{ c: 20, n: 20 }])
})

t.test('--since and --until choose the batches, and then the events', async t => {
  const start = Date.UTC(2026, 10, 24)
  const archive = await openArchive(t, 'directory')
  for (const hour of range(48)) {
    const events = range(2).map(n =>
      JSON.stringify({
        event: 'counted',
        messageId: `m-${hour}-${n}`,
        receivedAt: hourOf(start + hour * 3_600_000 + n * 1_800_000),
      }),
    )
    await putObject(archive, objectOf(events), '.ndjson.gz', hourOf(start + hour * 3_600_000))
  }
  await build(archive, archive.store)
  const env = envOf(t, archive)
  const count = async (...flags: string[]) => {
    const [row] = (await answerOf(t, 'select count(*)::int as n from events', env, ...flags)) as {
      n: number
    }[]
    return row?.n
  }
  t.equal(await count('--since=2026-11-25', '--until=2026-11-25T06:00'), 12)
  t.equal(readdirSync(cacheOf(env)).filter(name => name.endsWith('.parquet')).length, 1)
  t.equal(await count('--since=2026-11-25T05:30:00Z'), 37)
  t.equal(await count('--until=2026-11-24T00:30:00Z'), 1)
  t.equal(await count(), 96)
  t.equal(await count('--since=2h'), 0)
  t.match(await query(t, ['select 1', '--since=yesterday'], env), { code: 2, stderr: /--since must be/ })
})

t.test('each format holds all of an answer, and a file appears whole', async t => {
  const events = [
    archivedEvent({ user_id: 'é"日', properties: { price: 'P' } }).replace('"P"', '1.50'),
    archivedEvent({ traits: { a: [1, null] }, big: 'B' }).replace('"B"', '12345678901234567890123'),
  ]
  const env = envOf(t, await archiveOf(t, 'directory', [events]))
  const sql =
    'select user_id, properties, traits, extra, received_at from events order by user_id nulls last -- end'
  t.strictSame((await query(t, [sql, '--format=ndjson'], env)).stdout.split('\n'), [
    '{"user_id":"é\\"日","properties":{"price":1.50},"traits":null,"extra":null,"received_at":"2026-11-24T13:05:07.123Z"}',
    '{"user_id":null,"properties":null,"traits":{"a":[1,null]},"extra":{"big":12345678901234567890123},"received_at":"2026-11-24T13:05:07.123Z"}',
    '',
  ])
  t.match(
    (await query(t, [sql, '--format=csv'], env)).stdout,
    /^user_id,properties,.*\n"é""日","{""price"":1.50}"/,
  )
  const directory = temporaryDirectory(t)
  const output = join(directory, 'answer.parquet')
  t.match(await query(t, [sql, '--format=parquet', `--output=${output}`], env), {
    code: 0,
    stdout: '',
    stderr: '',
  })
  t.equal(readFileSync(output).subarray(0, 4).toString(), 'PAR1')
  t.match(await query(t, ['select error(1) from events', '--format=csv', `--output=${output}2`], env), {
    code: 1,
  })
  t.strictSame(readdirSync(directory), ['answer.parquet'])
  t.match((await query(t, [sql], env)).stdout, /^user_id +properties +.*\n-+ .*\né"日 +{"price":1.50}/)
})

t.test('a byte order mark at the start of a text stays, in every format and every type', async t => {
  const text = '\ufeffa\ufeff'
  const env = envOf(
    t,
    await archiveOf(t, 'directory', [[archivedEvent({ user_id: text, properties: { text } })]]),
  )
  const values = {
    user_id: 'user_id',
    inJson: 'properties',
    list: '[user_id]',
    inStruct: '{a: user_id}',
    inMap: 'map {user_id: user_id}',
    inUnion: 'union_value(a := user_id)',
    inVariant: 'user_id::variant',
    last: 'user_id',
  }
  const columns = Object.entries(values).map(([name, value]) => `${value} as "${name}"`)
  const sql = `select ${columns.join(', ')} from events`
  const row = {
    user_id: text,
    inJson: { text },
    list: [text],
    inStruct: { a: text },
    inMap: { [text]: text },
    inUnion: text,
    inVariant: text,
    last: text,
  }
  const output = async (format: string): Promise<string> =>
    (await query(t, [sql, `--format=${format}`], env)).stdout
  const [json, ndjson, table = ''] = await Promise.all(['json', 'ndjson', 'table'].map(output))
  t.strictSame(JSON.parse(String(json)), [row])
  t.strictSame(JSON.parse(String(ndjson)), row)
  t.strictSame(table.split('\n')[2]?.split(/ {2,}/), [
    text,
    `{"text":"${text}"}`,
    `['${text}']`,
    `{'a': '${text}'}`,
    `{'${text}': '${text}'}`,
    text,
    `'${text}'`,
    text,
  ])
})

t.test(
  'SQL comes as an argument, from a file or from standard input; errors are those of DuckDB',
  async t => {
    const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]]))
    const file = join(temporaryDirectory(t), 'q.sql')
    writeFileSync(file, 'select 42 as answer;\n')
    t.match((await query(t, ['--file', file], env)).stdout, /answer\n-+\n +42/)
    t.match(await query(t, ['selec 1'], env), {
      code: 1,
      stderr: /Parser Error: syntax error at or near "selec"/,
    })
    t.match(await query(t, ['select nothing from events'], env), {
      code: 1,
      stderr: /Binder Error:.*"nothing"/,
    })
    t.match(await query(t, ['select 1; select 2'], env), { code: 1, stderr: /One statement at a time/ })
  },
)

t.test('an error of a text without quotes says what to write, in each command that takes SQL', async t => {
  const env = envOf(
    t,
    await archiveOf(t, 'directory', [[archivedEvent({ user_id: 'xyz', properties: { plan: 'pro' } })]]),
  )
  const ofColumn = /user_id is a text: compare it with a text in quotes, like user_id = '42'\./
  const ofValue = /A text is compared with something else: .* like '42'\./
  const all = async (where: string): Promise<Run[]> =>
    Promise.all(
      [
        ['query', `select * from events where ${where}`],
        ['erase', '--dry-run', '--where', where],
        ['replay', '--output=-', '--where', where],
      ].map(args => runProgram(t, path, args, { ...process.env, ...env })),
    )
  for (const [where, hint] of [
    ['user_id = 42', ofColumn],
    ['user_id = xyz', /If it is a text, write it in single quotes: 'xyz'\./],
  ] as const) {
    for (const { code, stdout, stderr } of await all(where)) {
      t.match({ code, stdout }, { code: 1, stdout: '' }, where)
      t.match(stderr, hint, where)
      t.match(stderr, /^frequency: .*(?:Conversion|Binder) Error/m, "DuckDB's words stay")
    }
  }
  const select = async (where: string): Promise<string> =>
    (await query(t, [`select * from events where ${where}`], env)).stderr
  for (const [where, hint] of [
    ['user_id in (42, 43)', ofColumn],
    ['user_id > 4.5', ofValue],
    ["properties->>'plan' = 42", ofValue],
    ["user_id = 'xyz' and properties->>'plan' = 'pro'", /in parentheses: \(properties->>'plan'\) = 'pro'\./],
  ] as const)
    t.match(await select(where), hint, where)
  const [, erase] = await all('user_id = 42')
  t.match(erase?.stderr, /^frequency: --where: Conversion Error: [^\n]*\n$/, 'and our SQL is not shown')
  const { stderr } = await query(
    t,
    ["select 'Could not convert string', 1/0 from events where received_at > 'x'"],
    env,
  )
  t.notMatch(stderr, /quotes/, 'other errors have no hint')
})

t.test('SQL can neither read files, nor write, nor change the engine', async t => {
  const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]]))
  const secret = join(temporaryDirectory(t), 'secret.csv')
  const target = join(temporaryDirectory(t), 'written')
  writeFileSync(secret, 'a\nsecret\n')
  for (const sql of [
    `select * from '${secret}'`,
    `select * from read_csv('${secret}')`,
    `select * from read_text('${secret}')`,
    `select * from glob('/etc/*')`,
    `select * from query('select 1')`,
    `copy events to '${target}'`,
    `copy (select 1) to '${target}'`,
    `explain analyze copy (select 1) to '${target}'`,
    `export database '${target}'`,
    `attach '${target}'`,
    `select * from enable_logging(storage = 'file', storage_path = '${target}')`,
    `select write_log('x')`,
    `create table t as select 1`,
    `set lock_configuration = false`,
    `install httpfs`,
    `load httpfs`,
    `pragma database_list`,
    `call enable_logging()`,
    `select 1) to '${target}' (format csv); --`,
    `with x as (select * from read_csv('${secret}')) select * from x`,
    `select (select a from read_csv('${secret}'))`,
    `from read_parquet('${target}')`,
  ]) {
    const { code, stdout, stderr } = await query(t, [sql, '--format=csv'], env)
    t.match({ code, stdout }, { code: 1, stdout: '' }, sql)
    t.notMatch(stderr, /secret\n/, sql)
    t.notOk(existsSync(target), sql)
  }
})

t.test(
  'a query that takes too much memory is stopped, and so is one that does not hear of an interrupt',
  async t => {
    const env = {
      ...envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]])),
      QUERY_MEMORY_MAX: '400MiB',
    }
    for (const sql of ["select len(repeat('x', 3000000000))", 'select len(range(300000000))'])
      t.match(await query(t, [sql], env), { code: 1, stderr: /more than 400 MiB .*QUERY_MEMORY_MAX/ }, sql)
  },
)

t.test('Ctrl-C stops a query at once, and prints no part of an answer', async t => {
  const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]]))
  await answerOf(t, 'select 1 as ready', env)
  for (const format of ['csv', 'ndjson']) {
    const program = startProgram(t, path, {
      args: [
        'query',
        'select a.range, b.range from range(1000000) a, range(1000000) b',
        `--format=${format}`,
      ],
      env: { ...process.env, ...env },
      cwd: temporaryDirectory(t),
    })
    const cache = cacheOf(env)
    await until('the answer is being written', WAIT_MS_MAX, () =>
      readdirSync(cache, { recursive: true }).some(name => String(name).endsWith(`.${format}`)),
    )
    program.kill('SIGINT')
    t.match(await program.endsWithin(END_MS_MAX), { code: 130 }, format)
    t.equal(program.stdout, '')
    t.strictSame(
      readdirSync(cache).filter(name => name.startsWith('run-')),
      [],
      'nothing of the run is left',
    )
  }
})

t.test('an object that was cut short, changed or removed is told, and no answer is given', async t => {
  const events = range(1_000).map(n => archivedEvent({ n }))
  const changes: [what: string, change: (bytes: Buffer) => Buffer][] = [
    ['is damaged', bytes => bytes.subarray(0, bytes.length - 20)],
    // DuckDB itself reads both of these as if they were whole.
    ['is not what the log says', () => zlib.gzipSync(Buffer.from(`${events.slice(0, 500).join('\n')}\n`))],
    ['is not what the log says', () => zlib.gzipSync(Buffer.from(`${events.join('\n')}\n`), { level: 9 })],
  ]
  for (const [what, change] of changes) {
    const archive = await archiveOf(t, 'directory', [events, [archivedEvent()]])
    const [key] = await keysOf(archive)
    await damage(archive.store, key as string, change)
    const { code, stdout, stderr } = await query(t, ['select count(*) from events'], envOf(t, archive))
    t.match({ code, stdout }, { code: 1, stdout: '' }, what)
    t.match(stderr, `The object ${key} ${what}`)
  }
  const archive = await archiveOf(t, 'directory', [events, [archivedEvent()]])
  const env = envOf(t, archive)
  const [key] = await keysOf(archive)
  await archive.store.remove([key as string])
  t.match(await query(t, ['select count(*) from events'], env), {
    code: 1,
    stderr: `The object ${key} is gone`,
  })
})

t.test('runs beside each other share the cache, which is bounded', async t => {
  const objects = range(20).map(n =>
    range(500).map(m => archivedEvent({ n: 500 * n + m, text: `${Math.random()}` })),
  )
  const archive = await archiveOf(t, 'directory', objects)
  const env = envOf(t, archive)
  const sql = "select count(*)::int as c, count(distinct extra->>'n')::int as n from events"
  const answers = await Promise.all(range(4).map(() => answerOf(t, sql, env)))
  for (const answer of answers) t.strictSame(answer, [{ c: 10_000, n: 10_000 }])
  t.strictSame(await answerOf(t, sql, env), [{ c: 10_000, n: 10_000 }])
  const cache = cacheOf(env)
  t.equal(
    readdirSync(cache).filter(name => name.endsWith('.parquet')).length,
    1,
    'entries with the same objects go',
  )
  t.strictSame(await answerOf(t, sql, { ...env, QUERY_CACHE_BYTES_MAX: '0' }), [{ c: 10_000, n: 10_000 }])
  t.strictSame(readdirSync(cache), [])
})

t.test('what a killed run left is removed by the next one', async t => {
  const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]]))
  await answerOf(t, 'select 1 as ready', env)
  const cache = cacheOf(env)
  mkdirSync(join(cache, 'run-00000000'), { recursive: true })
  writeFileSync(join(cache, 'run-00000000', 'x.rows'), 'x')
  writeFileSync(join(cache, '00000000-0000-4000-8000-000000000001.json'), '{"objects"')
  t.strictSame(await answerOf(t, 'select count(*)::int as n from events', env), [{ n: 1 }])
  t.notOk(readdirSync(cache).some(name => name.startsWith('run-') || name.startsWith('00000000')))
})

t.test('an archive with objects and no log, and one with nothing', async t => {
  const archive = await openArchive(t, 'directory')
  const env = envOf(t, archive)
  t.strictSame(await answerOf(t, 'select count(*)::int as n, max(event) as e from events', env), [
    { n: 0, e: null },
  ])
  await putObject(archive, objectOf([archivedEvent()]))
  t.match(await query(t, ['select 1'], env), { code: 2, stderr: /frequency log build/ })
  t.match(await query(t, ['select 1'], { ...env, ARCHIVE_URL: '/nowhere/at/all' }), {
    code: 2,
    stderr: /ARCHIVE_URL/,
  })
})

/** The cache of the one archive that was asked with this environment. */
function cacheOf({ DATA_DIR }: NodeJS.ProcessEnv): string {
  const parent = join(String(DATA_DIR), 'query-cache')
  const [name] = readdirSync(parent)
  return join(parent, String(name))
}

async function keysOf({ store, prefix }: TestArchive): Promise<string[]> {
  const keys: string[] = []
  for await (const key of store.list(`${prefix}/dt=`)) keys.push(key)
  return keys
}

t.test('--shell answers one statement after the other, and goes on after an error', async t => {
  const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent({ user_id: 'u1' })]]))
  const file = join(temporaryDirectory(t), 'statements')
  writeFileSync(
    file,
    'select count(*) as n\nfrom events;\nselec 1;\n\nselect user_id\n  from events;\n.exit\nselect 7;\n',
  )
  const program = startProgram(t, path, {
    args: ['query', '--shell'],
    under: ['sh', '-c', 'exec "$@" < "$0"', file],
    env: { ...process.env, ...env },
    cwd: temporaryDirectory(t),
  })
  t.match(await program.endsWithin(END_MS_MAX), { code: 1 })
  t.equal(program.stdout, 'n\n-\n1\nuser_id\n-------\nu1\n')
  t.match(program.stderr, /Parser Error: syntax error at or near "selec"/)
})

t.test('--shell ends as the shells of other databases do', async t => {
  const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]]))
  for (const end of ['.quit', '\\q', 'exit', 'QUIT;']) {
    const file = join(temporaryDirectory(t), 'statements')
    writeFileSync(file, `select 6;\n ${end} \nselect 7;\n`)
    const program = startProgram(t, path, {
      args: ['query', '--shell'],
      under: ['sh', '-c', 'exec "$@" < "$0"', file],
      env: { ...process.env, ...env },
      cwd: temporaryDirectory(t),
    })
    t.match(await program.endsWithin(END_MS_MAX), { code: 0 }, end)
    t.equal(program.stdout, '6\n-\n6\n', end)
  }
})

t.test('batches that were objects before their record are in the answer, whatever is void', async t => {
  const archive = await archiveOf(t, 'directory', [[archivedEvent()], [archivedEvent()]])
  const env = envOf(t, archive)
  const key = archive.keys.record(1)
  const record = (await archive.reader.record(1)).record
  t.ok(
    record?.batches.every(({ isStored }) => isStored),
    key,
  )
  t.strictSame(await answerOf(t, 'select count(*)::int as n from events', env), [{ n: 2 }])
})

t.test('a DATA_DIR whose path looks like a partition changes no column', async t => {
  const archive = await archiveOf(t, 'directory', [[archivedEvent({ event: 'a' })]])
  const DATA_DIR = join(temporaryDirectory(t), 'event=zzz')
  const env = { ...archive.settings, DATA_DIR }
  t.strictSame(await answerOf(t, 'select event from events', env), [{ event: 'a' }])
})

t.test('an answer keeps its order, in every format', async t => {
  const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]]))
  const sql = 'select range as n from range(300000) order by (n * 7919) % 300007'
  const wanted = range(300_000).toSorted((a, b) => ((a * 7919) % 300_007) - ((b * 7919) % 300_007))
  const csv = (await query(t, [sql, '--format=csv'], env)).stdout.split('\n').slice(1, -1).map(Number)
  t.ok(csv.every((n, at) => n === wanted[at]) && csv.length === wanted.length)
  const json = (await answerOf(t, sql, env)) as { n: number }[]
  t.ok(json.every(({ n }, at) => n === wanted[at]) && json.length === wanted.length)
})

t.test('statements end with semicolons and comments, in every format', async t => {
  const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]]))
  for (const sql of [
    'describe events',
    'summarize events',
    'select 1 as a; -- end',
    'select 1 as a;;',
    '/* x */ select 1 as a /* y */;\r\n',
  ])
    for (const format of ['csv', 'ndjson', 'table'])
      t.match(await query(t, [sql, `--format=${format}`], env), { code: 0, stderr: '' }, `${sql} ${format}`)
})

t.test('an engine ends with its command, and a closed output leaves nothing behind', async t => {
  const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]]))
  await answerOf(t, 'select 1 as ready', env)
  const endless = startProgram(t, path, {
    args: ['query', 'select count(*) from range(1000000000000)'],
    env: { ...process.env, ...env },
    cwd: temporaryDirectory(t),
  })
  let engine = ''
  await until('the engine runs', WAIT_MS_MAX, () => {
    engine = childOf(endless.pid)
    return engine !== '' && readdirSync(cacheOf(env)).some(name => name.startsWith('run-'))
  })
  await endless.kill('SIGKILL').ended
  await until('the engine has ended', WAIT_MS_MAX, () => !existsSync(`/proc/${engine}`))

  const unread = startProgram(t, path, {
    args: ['query', 'select range from range(3000000)', '--format=csv'],
    env: { ...process.env, ...env },
    cwd: temporaryDirectory(t),
  })
  unread.closeStdout()
  t.match(await unread.endsWithin(END_MS_MAX), { code: 141 })
  await answerOf(t, 'select 1 as again', env)
  t.strictSame(
    readdirSync(cacheOf(env)).filter(name => name.startsWith('run-')),
    [],
  )
})

/** The process ID of a child process; empty if there is none. Linux only. */
function childOf(pid: number): string {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0] ?? ''
}

t.test('a signal while the engine starts is not lost', async t => {
  const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]]))
  for (const ms of [50, 150, 250, 350]) {
    const program = startProgram(t, path, {
      args: ['query', 'select count(*) from range(1000000000000)'],
      env: { ...process.env, ...env },
      cwd: temporaryDirectory(t),
    })
    // Not a wait for luck: each moment of the start is a case of its own.
    await new Promise(resolve => setTimeout(resolve, ms))
    program.kill('SIGINT')
    const { code, signal } = await program.endsWithin(10_000)
    t.ok(code === 130 || signal === 'SIGINT', `after ${ms} ms`)
  }
})

t.test('wrong flags are refused in one line', async t => {
  const env = envOf(t, await archiveOf(t, 'directory', [[archivedEvent()]]))
  for (const [args, code, says] of [
    [['select 1', '--output=x'], 2, /--output needs a --format/],
    [['--file=/nowhere/q.sql'], 2, /--file cannot be read/],
    [
      ['select 1', '--format=csv', '--output=missing/x'],
      1,
      /--output: missing\/x cannot be written \(ENOENT\)/,
    ],
    [['select 1', '--since=999999999w'], 2, /--since must be/],
  ] as const) {
    const { code: found, stdout, stderr } = await query(t, args, env)
    t.match({ code: found, stdout }, { code, stdout: '' })
    t.match(stderr, says)
    t.match(stderr, /^frequency: [^\n]+\n$/)
  }
})

t.test('JSON in lists, structs and maps stays JSON', async t => {
  const env = envOf(
    t,
    await archiveOf(t, 'directory', [[archivedEvent({ properties: { price: 'P' } }).replace('"P"', '1.50')]]),
  )
  const sql = `select [properties] as l, {p: properties, t: 'x'} as s, map {'k': properties} as m from events`
  const { stdout } = await query(t, [sql, '--format=ndjson'], env)
  const p = '{"price":1.50}'
  t.equal(stdout, `{"l":[${p}],"s":{"p":${p},"t":"x"},"m":{"k":${p}}}\n`)
})

t.test('a mistake in the SQL is told before anything is fetched', async t => {
  const archive = await archiveOf(t, 's3', [[archivedEvent()]])
  let reads = 0
  archive.server?.fault(({ operation, key }) => {
    if (operation === 'GetObject' && key.startsWith('p/dt=')) reads++
    return undefined
  })
  t.match(await query(t, ['select nothing from events'], envOf(t, archive)), {
    code: 1,
    stderr: /Binder Error:.*"nothing"/,
  })
  t.equal(reads, 0)
  t.match(await query(t, ['select event from events'], envOf(t, archive)), { code: 0 })
  t.equal(reads, 1)
})

t.test('an object whose transfer breaks off is read again, and counts once', async t => {
  const big = range(200).map(n => archivedEvent({ n, padding: randomBytes(2_000).toString('hex') }))
  const archive = await archiveOf(t, 's3', [big, [archivedEvent()]])
  const broken: string[] = []
  archive.server?.fault(({ operation, key }) => {
    if (operation !== 'GetObject' || !key.startsWith('p/dt=') || broken.length === 3) return undefined
    broken.push(key)
    return { reset: true, bodyBytes: 100_000 }
  })
  const sql = "select count(*)::int as c, count(distinct extra->>'n')::int as n from events"
  t.strictSame(await answerOf(t, sql, envOf(t, archive)), [{ c: 201, n: 200 }])
  t.equal(broken.length, 3)
})
