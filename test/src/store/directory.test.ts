/** Tests of the directory store alone: paths, foreign files, crashes. */
import { existsSync, mkdirSync, promises, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { type Test, test } from 'tap'
import { openStore, openStoreReader } from '../../../src/store/open-store.ts'
import type { ObjectStore } from '../../../src/store/store.ts'
import { configOf, temporaryDirectory } from '../../helpers/helper.ts'
import { filesBelow, getBytes, keysOf, putText } from '../../helpers/store-helper.ts'

const DAY_S = 24 * 60 * 60
const UNAVAILABLE = { code: 'FRQ_STORE_UNAVAILABLE', statusCode: 503 }

async function open(t: Test): Promise<{ store: ObjectStore; root: string; parent: string }> {
  const parent = temporaryDirectory(t)
  const root = join(parent, 'archive')
  return { store: await openStore(configOf({ ARCHIVE_URL: root })), root, parent }
}

test('the key of an object is its path below the directory', async t => {
  const { store, root } = await open(t)
  await putText(store, 'frequency/dt=2026-11-24/hour=13/batch_1.ndjson', '{}\n')
  t.equal(readFileSync(join(root, 'frequency/dt=2026-11-24/hour=13/batch_1.ndjson'), 'utf8'), '{}\n')
  writeFileSync(join(root, 'frequency/by-hand.txt'), 'x')
  t.same(await keysOf(store, 'frequency/by'), ['frequency/by-hand.txt'])
})

test('a missing directory is made, with its parents', async t => {
  const root = join(temporaryDirectory(t), 'a', 'b', 'c')
  const store = await openStore(configOf({ ARCHIVE_URL: root }))
  t.ok(existsSync(root))
  await store.check()
})

test('an archive has the same objects after it is opened again', async t => {
  const { store, root } = await open(t)
  await putText(store, 'p/1', 'one')
  await store.close()
  const again = await openStore(configOf({ ARCHIVE_URL: root }))
  t.same(await keysOf(again), ['p/1'])
  t.equal((await getBytes(again, 'p/1')).toString(), 'one')
})

test('a key that is another spelling of a path, or leads outside, is refused', async t => {
  const { store, root, parent } = await open(t)
  writeFileSync(join(parent, 'secret'), 'secret')
  const tricks = [
    '../secret',
    'p/../../secret',
    join(parent, 'secret'),
    join(root, 'p/1'),
    '/p/1',
    '..',
    '../archive/p/1',
    '.',
    '',
    './p/1',
    'p//1',
    'p/./1',
    'p/q/../1',
    'p/1/',
    'p/..',
    '.incoming/1',
    'p/\0',
  ]
  for (const key of tricks) {
    await t.rejects(store.get(key), UNAVAILABLE, `get ${JSON.stringify(key)}`)
    await t.rejects(putText(store, key, 'trick'), UNAVAILABLE, `put ${JSON.stringify(key)}`)
    const body = Buffer.from('trick')
    for (const work of [
      () => store.create(key, body),
      () => store.replace(key, body),
      () => store.read(key),
      () => store.move(key, 'p/1'),
      () => store.move('p/1', key),
      () => store.remove([key]),
    ]) {
      await t.rejects(async () => void (await work()), UNAVAILABLE, `${work} ${JSON.stringify(key)}`)
    }
  }
  t.same(filesBelow(parent), ['secret'])
  t.equal(readFileSync(join(parent, 'secret'), 'utf8'), 'secret')
})

test('a file or directory in the way of a key is not changed', async t => {
  const { store, root } = await open(t)
  await putText(store, 'p/file', 'here')
  await t.rejects(putText(store, 'p/file/below', 'x'), UNAVAILABLE)
  mkdirSync(join(root, 'p/directory'))
  for (const key of ['p/directory', 'p/file/below']) {
    await t.rejects(putText(store, key, 'x'), UNAVAILABLE)
    await t.rejects(store.create(key, Buffer.from('x')), UNAVAILABLE)
    await t.rejects(store.replace(key, Buffer.from('x')), UNAVAILABLE)
    await t.rejects(store.move('p/file', key), UNAVAILABLE)
    t.equal((await store.read(key)).object, undefined)
    t.equal(await store.move(key, 'p/to'), 'gone')
  }
  await t.rejects(store.remove(['p/directory']), UNAVAILABLE)
  t.ok(existsSync(join(root, 'p/directory')))
  t.same(filesBelow(root), ['file'])
  t.equal((await getBytes(store, 'p/file')).toString(), 'here')
})

test('calls fail while the archive directory is missing, and work again when it is back', async t => {
  const { store, root } = await open(t)
  rmSync(root, { recursive: true })
  writeFileSync(root, 'a file where the directory was')
  await t.rejects(store.check(), UNAVAILABLE)
  await t.rejects(putText(store, 'p/1', 'x'), UNAVAILABLE)
  await t.rejects(store.create('p/1', Buffer.from('x')), UNAVAILABLE)
  await t.rejects(store.read('p/1'), UNAVAILABLE, 'whether the object exists is unknown')
  await t.rejects(store.get('p/1'), UNAVAILABLE)
  t.equal(readFileSync(root, 'utf8'), 'a file where the directory was')
  rmSync(root)
  await store.check()
  await putText(store, 'p/1', 'x')
  t.same(await keysOf(store), ['p/1'])
})

test('a directory within the archive that was removed is made again', async t => {
  const { store, root } = await open(t)
  const works: Record<string, (key: string) => Promise<unknown>> = {
    put: key => putText(store, key, 'x'),
    create: key => store.create(key, Buffer.from('x')),
    replace: key => store.replace(key, Buffer.from('x')),
    move: async key => {
      await putText(store, 'q/from', 'x')
      return store.move('q/from', key)
    },
  }
  for (const [what, work] of Object.entries(works)) {
    await work('p/a/1')
    rmSync(join(root, 'p'), { recursive: true })
    await work('p/a/1')
    t.same(await keysOf(store), ['p/a/1'], what)
    await store.remove(['p/a/1'])
  }
})

/** Calls `link` and `rename` twice, as NFS does if an answer was lost: the second call meets the effect of the first. */
function repeatCalls(t: Test): void {
  const { link, rename } = promises
  const repeat =
    (call: typeof link): typeof link =>
    async (from, to) => {
      await call(from, to)
      await call(from, to)
    }
  Object.assign(promises, { link: repeat(link), rename: repeat(rename) })
  syncBuiltinESMExports()
  t.teardown(() => {
    Object.assign(promises, { link, rename })
    syncBuiltinESMExports()
  })
}

test('a link or rename that NFS has repeated counts as done', async t => {
  const { store } = await open(t)
  await store.create('p/other', Buffer.from('other'))
  repeatCalls(t)
  t.equal((await store.create('p/1', Buffer.from('x'))).outcome, 'created')
  t.equal((await store.create('p/1', Buffer.from('y'))).outcome, 'exists')
  t.equal((await store.create('p/other', Buffer.from('y'))).outcome, 'exists')
  await store.replace('p/other', Buffer.from('new'))
  await putText(store, 'p/from', 'moved')
  t.equal(await store.move('p/from', 'p/to'), 'moved')
  t.equal(await store.move('p/from', 'p/to'), 'gone')
  const texts = ['p/1', 'p/other', 'p/to'].map(async key => (await getBytes(store, key)).toString())
  t.same(await Promise.all(texts), ['x', 'new', 'moved'])
})

test('a reader writes nothing, and fails for a missing archive but not for a missing object', async t => {
  const { store, root } = await open(t)
  await putText(store, 'p/1', 'one')
  rmSync(join(root, '.incoming'), { recursive: true })
  const reader = await openStoreReader(configOf({ ARCHIVE_URL: root }))
  t.equal((await reader.read('p/1')).object?.body.toString(), 'one')
  t.equal((await reader.read('p/2')).object, undefined)
  t.notOk(existsSync(join(root, '.incoming')))
  rmSync(root, { recursive: true })
  await t.rejects(reader.read('p/1'), UNAVAILABLE)
})

test('a put that cannot begin destroys its body', async t => {
  const { store, root } = await open(t)
  rmSync(root, { recursive: true })
  const body = new PassThrough()
  body.on('error', () => {})
  await t.rejects(store.put('p/1', body), UNAVAILABLE)
  t.ok(body.destroyed)
})

test('temporary files are removed a day later, and younger ones are not', async t => {
  const { store, root } = await open(t)
  await putText(store, 'p/1', 'x')
  const incoming = join(root, '.incoming')
  const then = Date.now() / 1000 - DAY_S - 60
  writeFileSync(join(incoming, 'abandoned'), 'half an obj')
  utimesSync(join(incoming, 'abandoned'), then, then)
  writeFileSync(join(incoming, 'being-written'), 'half an obj')
  t.same(await keysOf(store), ['p/1'], 'temporary files are not objects')
  const staged = 'p/_frequency/staged/old'
  await putText(store, staged, 'a log record may refer to it')
  utimesSync(join(root, staged), then, then)

  const again = await openStore(configOf({ ARCHIVE_URL: root }))
  t.same(filesBelow(incoming), ['being-written'])
  t.same(await keysOf(again), ['p/1', staged])
})

test('a directory that cannot be written is refused with a message of one line', async t => {
  const { parent } = await open(t)
  writeFileSync(join(parent, 'file'), '')
  for (const path of [join(parent, 'file'), join(parent, 'file', 'below')]) {
    await t.rejects(
      openStore(configOf({ ARCHIVE_URL: path })),
      {
        code: 'FRQ_CONFIG_INVALID',
        message: /^ARCHIVE_URL: The archive [^\r\n]+ cannot be written[^\r\n]+$/,
      },
      path,
    )
  }
})
