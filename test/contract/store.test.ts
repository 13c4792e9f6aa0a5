/** The contract of a store (src/store/store.ts), tested on a directory, on radosgw and on a strict S3 test server. */
import { once } from 'node:events'
import { createReadStream, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'tap'
import { liveBufferBytes, range, temporaryDirectory } from '../helpers/helper.ts'
import { bodyOf, chunksOf, getBytes, keysOf, putText } from '../helpers/store-helper.ts'
import { KINDS } from '../helpers/store-kinds.ts'
import { until } from '../services/wait.ts'

const WAIT_MS_MAX = 30_000
const MIB = 1024 * 1024
/** The smallest part that S3 accepts. */
const PART_BYTES = 5 * MIB

for (const { name, description, hasClock, open, isHere = false } of KINDS) {
  test(name, async t => {
    t.test('works from the start, and has a description', async t => {
      const { store } = await open(t)
      await store.check()
      t.match(store.description, description)
    })

    t.test('objects of any size are read unchanged', async t => {
      const { store } = await open(t)
      const sizes = [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 12 * MIB]
      for (const size of sizes) {
        t.equal(await store.put(`p/size-${size}`, bodyOf(size)), size, 'put resolves to the size')
        const bytes = await getBytes(store, `p/size-${size}`)
        t.ok(bytes.equals(Buffer.concat([...chunksOf(size)])), `${size} bytes`)
      }
      t.equal((await keysOf(store)).length, sizes.length)
    })

    t.test('an object is visible only when it is complete', async t => {
      const { store, leftovers } = await open(t)
      const body = new PassThrough()
      const stored = store.put('p/slow', body)
      let written = 0
      for (const chunk of chunksOf(11 * MIB)) {
        written += chunk.length
        if (!body.write(chunk)) await new Promise(resolve => body.once('drain', resolve))
        if (written > 6 * MIB && written - chunk.length <= 6 * MIB) {
          await until('a part is stored', WAIT_MS_MAX, async () => (await leftovers()) > 0)
          t.same(await keysOf(store), [])
          await t.rejects(store.get('p/slow'), { code: 'FRQ_OBJECT_NOT_FOUND' })
        }
      }
      body.end()
      await stored
      t.same(await keysOf(store), ['p/slow'])
      t.equal((await getBytes(store, 'p/slow')).length, 11 * MIB)
    })

    t.test('many objects can be stored and read concurrently', async t => {
      const { store } = await open(t)
      await Promise.all(range(20).map(i => putText(store, `p/${i}`, `text ${i}`)))
      const texts = await Promise.all(range(20).map(async i => (await getBytes(store, `p/${i}`)).toString()))
      t.same(
        texts,
        range(20).map(i => `text ${i}`),
      )
    })

    t.test('of several creators of a key one wins, and the others change nothing', async t => {
      const { store, leftovers } = await open(t)
      for (const bytes of [0, 1, 5_000, MIB]) {
        const key = `p/new/${bytes}/created`
        const bodies = range(8).map(i => Buffer.alloc(bytes, i))
        const created = await Promise.all(bodies.map(body => store.create(key, body)))
        const winners = bodies.filter((_, i) => created[i]?.outcome === 'created')
        t.equal(winners.length, 1)
        t.equal((await store.create(key, Buffer.from('late'))).outcome, 'exists')
        t.same((await store.read(key)).object?.body, winners[0])
      }
      t.equal(await leftovers(), 0)
    })

    t.test('a create finds objects that were put, replaced or moved', async t => {
      const { store } = await open(t)
      await putText(store, 'p/put', 'put')
      await store.replace('p/replaced', Buffer.from('replaced'))
      await putText(store, 'p/from', 'moved')
      await store.move('p/from', 'p/moved')
      for (const how of ['put', 'replaced', 'moved']) {
        t.equal((await store.create(`p/${how}`, Buffer.from('created'))).outcome, 'exists')
        t.equal((await store.read(`p/${how}`)).object?.body.toString(), how)
      }
      t.equal(
        (await store.create('p/from', Buffer.from('again'))).outcome,
        'created',
        'the source key is free',
      )
      await store.remove(['p/put'])
      t.equal((await store.create('p/put', Buffer.from('again'))).outcome, 'created')
    })

    t.test('a replace replaces the existing object', async t => {
      const { store, leftovers } = await open(t)
      for (const text of ['first', 'second, longer', '']) {
        await store.replace('p/_frequency/head', Buffer.from(text))
        t.equal((await store.read('p/_frequency/head')).object?.body.toString(), text)
      }
      await Promise.all(range(10).map(i => store.replace('p/_frequency/head', Buffer.alloc(10_000, i))))
      const body = (await store.read('p/_frequency/head')).object?.body ?? Buffer.alloc(0)
      t.ok(body.equals(Buffer.alloc(10_000, body[0])), 'the body of one call, not a mixture')
      t.equal(await leftovers(), 0)
    })

    t.test('a range is read up to the end of the object', async t => {
      const { store } = await open(t)
      await store.create('p/ten', Buffer.from('0123456789'))
      await store.create('p/none', Buffer.alloc(0))
      for (const [key, start, length, expected] of [
        ['ten', 0, 10, '0123456789'],
        ['ten', 0, 4, '0123'],
        ['ten', 4, 3, '456'],
        ['ten', 9, 1, '9'],
        ['ten', 7, 100, '789'],
        ['ten', 10, 1, ''],
        ['ten', 11, 5, ''],
        ['ten', 1_000, 5, ''],
        ['ten', 3, 0, ''],
        ['none', 0, 1, ''],
        ['none', 0, 0, ''],
        ['none', 5, 5, ''],
      ] as const) {
        const { object } = await store.read(`p/${key}`, { start, length })
        t.equal(object?.body.toString(), expected, `${length} from ${start} of ${key}`)
        t.equal(object?.size, key === 'ten' ? 10 : 0)
      }
      t.same((await store.read('p/none')).object?.body, Buffer.alloc(0))
      await store.put('p/large', bodyOf(12 * MIB))
      const whole = Buffer.concat([...chunksOf(12 * MIB)])
      const { object } = await store.read('p/large', { start: 6 * MIB - 5, length: MIB })
      t.ok(object?.body.equals(whole.subarray(6 * MIB - 5, 7 * MIB - 5)))
      t.equal(object?.size, 12 * MIB)
      t.ok((await store.read('p/large')).object?.body.equals(whole))
    })

    t.test(
      'answers have the time of the store if it has a clock, and objects the time of storing',
      async t => {
        const { store } = await open(t)
        const { date } = await store.create('p/1', Buffer.from('x'))
        const read = await store.read('p/1')
        const missing = await store.read('p/2')
        const isNow = (time = 0) => Math.abs(time - Date.now()) < 60_000
        t.ok(isNow(read.object?.modifiedAt))
        const times = [date, read.date, missing.date, (await store.create('p/1', Buffer.from('y'))).date]
        if (hasClock) t.ok(times.every(isNow), `${times}`)
        else t.same(times, Array(4).fill(undefined))
      },
    )

    t.test('several objects are moved by one call, and missing ones are reported as gone', async t => {
      const { store } = await open(t)
      for (const n of [1, 3]) await putText(store, `p/_frequency/staged/${n}`, `object ${n}`)
      const moves = [1, 2, 3].map(n => ({
        from: `p/_frequency/staged/${n}`,
        to: `p/dt=1/hour=2/batch_${n}.gz`,
      }))
      t.same(await store.moveAll(moves), ['moved', 'gone', 'moved'])
      t.same(await keysOf(store), ['p/dt=1/hour=2/batch_1.gz', 'p/dt=1/hour=2/batch_3.gz'])
      t.same(await store.moveAll([]), [])
    })

    t.test('a move moves an object once', async t => {
      const { store, leftovers } = await open(t)
      for (const bytes of [0, 1_000, 12 * MIB]) {
        await store.put('p/_frequency/staged/1', bodyOf(bytes))
        t.equal(await store.move('p/_frequency/staged/1', 'p/dt=1/hour=2/batch.gz'), 'moved')
        t.same(await keysOf(store), ['p/dt=1/hour=2/batch.gz'])
        t.ok((await getBytes(store, 'p/dt=1/hour=2/batch.gz')).equals(Buffer.concat([...chunksOf(bytes)])))
        t.equal(await store.move('p/_frequency/staged/1', 'p/dt=1/hour=2/batch.gz'), 'gone')
      }
      await putText(store, 'p/a', 'a')
      t.equal(await store.move('p/a', 'p/dt=1/hour=2/batch.gz'), 'moved', 'the existing object is replaced')
      t.equal((await getBytes(store, 'p/dt=1/hour=2/batch.gz')).toString(), 'a')
      t.equal(await leftovers(), 0)
    })

    t.test('concurrent moves of one object lose nothing', async t => {
      const { store } = await open(t)
      for (const i of range(5)) {
        await store.put(`p/staged/${i}`, bodyOf(6 * MIB))
        const outcomes = await Promise.all(
          range(4).map(() => store.move(`p/staged/${i}`, `p/new-${i}/moved`)),
        )
        t.ok(outcomes.includes('moved'), `${outcomes}`)
        t.ok((await getBytes(store, `p/new-${i}/moved`)).equals(Buffer.concat([...chunksOf(6 * MIB)])))
      }
      t.same(await keysOf(store, 'p/staged/'), [])
    })

    t.test('existing objects are removed, and missing ones are ignored', async t => {
      const { store } = await open(t)
      const keys = range(30).map(i => `p/${i % 3}/${i}`)
      await Promise.all(keys.map(key => store.create(key, Buffer.from(key))))
      await store.remove([])
      await store.remove(['p/0/0'])
      await store.remove(['p/0/0'])
      await store.remove(['p/none', 'p/1/1', 'nowhere/at/all', 'p/2/2/below'])
      t.same(
        (await keysOf(store)).toSorted(),
        keys.filter(key => !['p/0/0', 'p/1/1'].includes(key)).toSorted(),
      )
      await store.remove([...keys, 'p/none'])
      t.same(await keysOf(store), [])
    })

    for (const [when, bytes] of [
      ['before its first byte', 0],
      ['within its first part', MIB],
      ['after its first part', 8 * MIB],
    ] as const) {
      for (const [how, error] of [
        ['with an error', new Error('cancelled')],
        ['without an error', undefined],
      ] as const) {
        t.test(`a body that is destroyed ${when}, ${how}, leaves nothing behind`, async t => {
          const { store, leftovers } = await open(t)
          const body = new PassThrough()
          const rejected = t.rejects(store.put('p/cancelled', body))
          for (const chunk of chunksOf(bytes)) {
            if (!body.write(chunk)) await new Promise(resolve => body.once('drain', resolve))
          }
          body.destroy(error)
          await rejected
          t.same(await keysOf(store), [])
          await until('no temporary data is left', WAIT_MS_MAX, async () => (await leftovers()) === 0)
          await store.check()
        })
      }
    }

    t.test('a stream of a file is stored as far as it is read', async t => {
      const { store, leftovers } = await open(t)
      const path = join(temporaryDirectory(t), 'file')
      const bytes = Buffer.concat([...chunksOf(MIB + 1)])
      writeFileSync(path, bytes)
      const begun = createReadStream(path, { highWaterMark: 100 })
      await once(begun, 'readable')
      begun.read(100)
      const streams: [string, Readable, number, number?][] = [
        ['whole', createReadStream(path), 0],
        ['from 7', createReadStream(path, { start: 7 }), 7],
        ['up to 9', createReadStream(path, { end: 9 }), 0, 10],
        ['after 100', begun, 100],
      ]
      for (const [name, stream, start, end] of streams) {
        const wanted = bytes.subarray(start, end)
        t.equal(await store.put(`p/${name}`, stream), wanted.length)
        t.ok((await getBytes(store, `p/${name}`)).equals(wanted), name)
      }
      await store.remove(streams.map(([name]) => `p/${name}`))
      await t.rejects(store.put('p/missing', createReadStream(`${path}-none`)))
      const cancelled = createReadStream(path)
      cancelled.destroy()
      await t.rejects(store.put('p/cancelled', cancelled))
      t.same(await keysOf(store), [])
      await until('no temporary data is left', WAIT_MS_MAX, async () => (await leftovers()) === 0)
    })

    t.test('a missing key is not found', async t => {
      const { store } = await open(t)
      await putText(store, 'p/there', '')
      for (const key of ['p/other', 'p', 'p/there/below', 'P/there']) {
        await t.rejects(store.get(key), { code: 'FRQ_OBJECT_NOT_FOUND', statusCode: 404 }, key)
        t.equal((await store.read(key)).object, undefined, key)
        t.equal((await store.read(key, { start: 0, length: 1 })).object, undefined, key)
        t.equal(await store.move(key, 'p/to'), 'gone', key)
      }
    })

    t.test('keys are listed by prefix, in the order of their bytes', async t => {
      const { store } = await open(t)
      const keys = [
        'p/dt=2026-11-23/hour=23/batch_9',
        'p/dt=2026-11-24/hour=1/batch_1',
        'p/dt=2026-11-24/hour=10/batch_0',
        'p/dt=2026-11-24/hour=10/batch_1',
        'p/dt=2026-11-24/hour=10/batch_1.gz',
        'p/dt=2026-11-24/hour=11-a/batch',
        'p/dt=2026-11-24/hour=11/batch',
        'p/dt=2026-11-24/hour=110/batch',
        'p/z',
        'p/\uff5e',
        'p/\u{1f600}',
        'q',
      ]
      for (const key of keys.toReversed()) await putText(store, key, key)
      t.same(await keysOf(store), keys)
      t.same(await keysOf(store, 'p/dt=2026-11-24/'), keys.slice(1, 8))
      t.same(await keysOf(store, 'p/dt=2026-11-24/hour=1'), keys.slice(1, 8))
      t.same(await keysOf(store, 'p/dt=2026-11-24/hour=10/batch_1'), keys.slice(3, 5))
      t.same(await keysOf(store, 'p/dt=2026-11-24/hour=10/'), keys.slice(2, 5))
      t.same(await keysOf(store, 'q'), ['q'])
      t.same(await keysOf(store, 'nothing/'), [])
      t.same(await keysOf(store, 'p/dt=2027'), [])
    })

    t.test('a key may have unusual characters', async t => {
      const { store } = await open(t)
      const keys = [
        'p/a b+c',
        'p/50%',
        'p/%41',
        'p/?#&=;,@:$!~',
        'p/*<>|"\'',
        'p/back\\slash',
        'p/..a/b..',
        'p/.hidden',
        'p/é日\u{1f600}',
        'p/e\u0301',
        `p/${'long'.repeat(50)}`,
      ]
      for (const key of keys) await putText(store, key, key)
      t.same((await keysOf(store)).toSorted(), keys.toSorted())
      for (const key of keys) t.equal((await getBytes(store, key)).toString(), key)
      for (const key of keys) t.equal(await store.move(key, key.replace('p/', 'q/')), 'moved', key)
      t.same(await keysOf(store, 'p/'), [])
      for (const key of keys) {
        const { object } = await store.read(key.replace('p/', 'q/'))
        t.equal(object?.body.toString(), key)
      }
      await store.remove(await keysOf(store))
      t.same(await keysOf(store), [])
    })

    if (isHere) return
    t.test('a large body is not held in memory', async t => {
      const { store } = await open(t)
      const before = liveBufferBytes()
      const held: number[] = []
      function* watchedChunks(): Generator<Buffer> {
        let bytes = 0
        for (const chunk of chunksOf(128 * MIB)) {
          if (Math.floor((bytes + chunk.length) / (8 * MIB)) > held.length)
            held.push(liveBufferBytes() - before)
          bytes += chunk.length
          yield chunk
        }
      }
      await store.put('p/large', Readable.from(watchedChunks(), { objectMode: false }))
      const most = Math.round(Math.max(...held) / MIB)
      t.ok(held.length === 16 && most < 48, `${most} MiB of 128`)
    })
  })
}
