import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { StoreUnavailable } from '../../../src/errors.ts'
import { StoredDigest } from '../../../src/log/describe-object.ts'
import { isDamage, readPieces } from '../../../src/object/object-reader.ts'

const LINE_FEED = 0x0a
const lines = (count: number, bytes = 100): Buffer =>
  Buffer.from(Array.from({ length: count }, () => `"${randomBytes(bytes / 2).toString('hex')}"\n`).join(''))

function storeOf(stored: Buffer, chunkBytes: number, failure?: Error) {
  async function* chunks() {
    for (let at = 0; at < stored.length; at += chunkBytes) yield stored.subarray(at, at + chunkBytes)
    if (failure !== undefined) throw failure
  }
  return { get: async () => Readable.from(chunks(), { objectMode: false }) }
}

async function read(store: ReturnType<typeof storeOf>, key: string) {
  const digest = new StoredDigest()
  const pieces: Buffer[] = []
  let error: unknown
  try {
    for await (const piece of readPieces(store, key, digest.add)) pieces.push(piece)
  } catch (thrown) {
    error = thrown
  }
  return { pieces, bytes: Buffer.concat(pieces), error, ...digest.end() }
}

const SMALL = lines(1_000)
const LARGE = lines(40_000)
const REPEATED = Buffer.alloc(8 * 1024 * 1024, '""\n')
const CASES: Record<string, { readonly stored: Buffer; readonly bytes: Buffer; readonly key?: string }> = {
  'a small object': { stored: gzipSync(SMALL), bytes: SMALL },
  'one without events': { stored: gzipSync(''), bytes: Buffer.from('') },
  'two gzip members': {
    stored: Buffer.concat([gzipSync(SMALL), gzipSync(SMALL)]),
    bytes: Buffer.concat([SMALL, SMALL]),
  },
  'one that is not compressed': { stored: SMALL, bytes: SMALL, key: 'a.ndjson' },
  'one that is large': { stored: gzipSync(LARGE), bytes: LARGE },
  'one that is small, and large when it is decompressed': { stored: gzipSync(REPEATED), bytes: REPEATED },
  'one whose last line is cut short': {
    stored: gzipSync(SMALL.subarray(0, -50)),
    bytes: SMALL.subarray(0, -50),
  },
}
const wrongLength = Buffer.from(gzipSync(SMALL))
wrongLength.writeUInt32LE(7, wrongLength.length - 4)

for (const [name, { stored, bytes, key = 'a.ndjson.gz' }] of Object.entries(CASES))
  for (const chunkBytes of [1_000, 64 * 1024, 4 * 1024 * 1024])
    t.test(`${name}, in chunks of ${chunkBytes} bytes`, async t => {
      const found = await read(storeOf(stored, chunkBytes), key)
      t.equal(found.error, undefined)
      t.ok(found.bytes.equals(bytes))
      t.ok(found.pieces.slice(0, -1).every(piece => piece.at(-1) === LINE_FEED))
      t.equal(found.sha256, createHash('sha256').update(stored).digest('hex'))
      t.equal(found.storedBytes, stored.length)
    })

t.test('what comes before the damage is yielded', async t => {
  const packed = gzipSync(SMALL)
  for (const stored of [packed.subarray(0, packed.length / 2), wrongLength]) {
    const { bytes, error } = await read(storeOf(stored, 64 * 1024), 'a.ndjson.gz')
    t.ok(isDamage(error), String(error))
    t.ok(bytes.length > 0)
    t.ok(SMALL.subarray(0, bytes.length).equals(bytes))
  }
})

t.test('a store that fails is told from damage', async t => {
  for (const stored of [gzipSync(SMALL), gzipSync(LARGE)]) {
    const store = storeOf(stored.subarray(0, -10), 16 * 1024, new Error('reset'))
    const { error } = await read(store, 'a.ndjson.gz')
    t.type(error, StoreUnavailable)
    t.match(String(error), /a\.ndjson\.gz was not read to its end: reset/)
  }
})

t.test('a reader that stops ends the read', async t => {
  const source = Readable.from([gzipSync(LARGE)], { objectMode: false })
  for await (const _ of readPieces({ get: async () => source }, 'a.ndjson.gz')) break
  t.ok(source.destroyed)
})
