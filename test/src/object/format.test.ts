import { execFileSync } from 'node:child_process'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import * as zlib from 'node:zlib'
import { test } from 'tap'
import {
  type ArchiveFormat,
  createCompressor,
  createDecompressor,
  emptyObject,
  extensionOf,
  framingOf,
} from '../../../src/object/format.ts'
import { eventOf, range } from '../../helpers/helper.ts'

const EVENTS = range(1_000).map(n => eventOf({ event: 'e', n }).body)
const hasZstd = 'createZstdCompress' in zlib

function framed(format: ArchiveFormat, events: Buffer[]): Buffer {
  const { before, between, after } = framingOf(format)
  return Buffer.concat([...events.flatMap((event, i) => [i === 0 ? before : between, event]), after])
}

async function throughCompressor(compression: 'gzip' | 'none' | 'zstd', bytes: Buffer): Promise<Buffer> {
  return buffer(Readable.from([bytes]).pipe(createCompressor(compression)))
}

test('ndjson is one event a line, with a line feed after the last', async t => {
  const lines = framed('ndjson', EVENTS).toString().split('\n')
  t.equal(lines.pop(), '')
  t.same(lines, EVENTS.map(String))
  t.equal(framed('ndjson', EVENTS.slice(0, 1)).toString(), `${EVENTS[0]}\n`)
})

test('json is one array, with an event a line', async t => {
  const text = framed('json', EVENTS).toString()
  t.same(
    JSON.parse(text),
    EVENTS.map(event => JSON.parse(event.toString())),
  )
  t.equal(text.split('\n').filter(line => line.startsWith('{')).length, EVENTS.length)
  t.same(JSON.parse(framed('json', EVENTS.slice(0, 1)).toString()).length, 1)
})

test('the extension names the format and the compression', async t => {
  t.equal(extensionOf('ndjson', 'gzip'), '.ndjson.gz')
  t.equal(extensionOf('json', 'gzip'), '.json.gz')
  t.equal(extensionOf('ndjson', 'none'), '.ndjson')
  t.equal(extensionOf('ndjson', 'zstd'), '.ndjson.zst')
})

test('gunzip reads the gzip output, which is smaller', async t => {
  const bytes = framed('ndjson', EVENTS)
  const gzipped = await throughCompressor('gzip', bytes)
  t.ok(gzipped.length < bytes.length / 3)
  t.ok(execFileSync('gunzip', { input: gzipped }).equals(bytes))
})

test('none leaves the bytes as they are', async t => {
  const bytes = framed('ndjson', EVENTS)
  t.ok((await throughCompressor('none', bytes)).equals(bytes))
})

for (const compression of ['gzip', 'none', ...(hasZstd ? (['zstd'] as const) : [])] as const) {
  test(`decompressing ${compression} gives the same bytes`, async t => {
    const bytes = framed('ndjson', EVENTS)
    const key = `p/batch_1${extensionOf('ndjson', compression)}`
    const compressed = await throughCompressor(compression, bytes)
    t.ok((await buffer(Readable.from([compressed]).pipe(createDecompressor(key)))).equals(bytes))
  })
}

test('every reader accepts an object without events', async t => {
  for (const [format, content] of [
    ['ndjson', ''],
    ['json', '[\n]\n'],
  ] as const) {
    t.equal(emptyObject(`p/batch_1.${format}`).toString(), content)
    t.equal(execFileSync('gunzip', { input: emptyObject(`p/batch_1.${format}.gz`) }).toString(), content)
    for (const compression of ['gz', ...(hasZstd ? ['zst'] : [])]) {
      const key = `p/batch_1.${format}.${compression}`
      const unpacked = Readable.from([emptyObject(key)]).pipe(createDecompressor(key))
      t.equal((await buffer(unpacked)).toString(), content, key)
    }
  }
})
