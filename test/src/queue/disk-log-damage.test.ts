/** What a log on disk makes of files that were cut off, or garbled. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Test, test } from 'tap'
import type { Damage } from '../../../src/queue/embedded/disk-log.ts'
import { parseSegmentName, type SegmentName } from '../../../src/queue/embedded/disk-log-format.ts'
import {
  bodyOf,
  copyOf,
  type Made,
  makeSegment,
  numberIn,
  numbersIn,
  openLog,
  readEvents,
  segmentFiles,
} from '../../helpers/disk-log-helper.ts'
import { range, temporaryDirectory } from '../../helpers/helper.ts'

const GROUPS = [1, 3, 2, 3]
const RECORDS = 9
/** The first record of the last group. */
const LAST_GROUP = 6

/** Opens a log whose one segment has these bytes; `numbers` is what it delivers. */
async function openWith(t: Test, made: Made, bytes: Buffer) {
  const path = temporaryDirectory(t)
  if (existsSync(join(made.path, 'dropped')))
    writeFileSync(join(path, 'dropped'), readFileSync(join(made.path, 'dropped')))
  writeFileSync(join(path, made.file), bytes)
  const log = await openLog(t, path)
  const { damages, events } = log
  const entries = await readEvents(log, events)
  await log.close()
  const left = readdirSync(path)
  rmSync(path, { recursive: true })
  return { damages, events, numbers: entries.map(numberIn), left }
}

function recordAt({ offsets }: Made, byte: number): number {
  return offsets.findLastIndex(offset => offset <= byte)
}

test('of a file that is cut off, all whole records are there, and nothing else', async t => {
  for (const isNoted of [false, true]) {
    const made = await makeSegment(t, GROUPS, isNoted)
    const { bytes, offsets } = made
    const wrong: unknown[] = []
    for (const cutAt of range(bytes.length)) {
      const { numbers, damages } = await openWith(t, made, bytes.subarray(0, cutAt))
      const whole = Math.max(0, recordAt(made, cutAt))
      const isRight = JSON.stringify(numbers) === JSON.stringify(range(whole))
      const from = whole === 0 && cutAt < 64 ? 0 : offsets[whole]
      const told = isNoted
        ? damages[0]?.from === from && damages.at(-1)?.to === bytes.length
        : damages.length === 0
      if (!isRight || !told) wrong.push({ cutAt, numbers, damages })
    }
    t.same(wrong, [], `${bytes.length} files, ${isNoted ? 'noted as synced: damaged' : 'torn'}`)
  }
})

test('a byte that is garbled costs the record that it is in, and is told unless it may be a torn tail', async t => {
  for (const isNoted of [false, true])
    for (const mask of [0xff, 0x01]) {
      const made = await makeSegment(t, GROUPS, isNoted)
      const { bytes, offsets, file } = made
      const wrong: unknown[] = []
      for (const at of range(bytes.length)) {
        const garbled = Buffer.from(bytes)
        garbled.writeUInt8(bytes.readUInt8(at) ^ mask, at)
        const { numbers, damages, left } = await openWith(t, made, garbled)
        const hit = recordAt(made, at)
        const isTold = hit < LAST_GROUP || isNoted
        const damage: Damage =
          hit === -1
            ? { file, from: 0, to: 64, events: 0 }
            : {
                file,
                from: offsets[hit] as number,
                to: offsets[hit + 1] as number,
                events: hit === RECORDS - 1 ? undefined : countOf(hit),
              }
        const isRight =
          JSON.stringify(numbers) === JSON.stringify(range(RECORDS).filter(n => n !== hit)) &&
          JSON.stringify(damages) === JSON.stringify(isTold ? [damage] : []) &&
          left.includes(file)
        if (!isRight) wrong.push({ at, hit, numbers, damages })
      }
      t.same(wrong, [], `${bytes.length} files, ${isNoted ? 'noted as synced' : 'not noted'}`)
    }
})

/** Events in a record, as makeSegment makes them. */
function countOf(n: number): number {
  let first = 0
  for (const size of GROUPS) {
    if (n < first + size) return 1 + ((n - first) % 3)
    first += size
  }
  throw new Error(`There is no record ${n}`)
}

test('zeros and garbage in the last group are a torn tail, and what is whole in it is kept', async t => {
  const made = await makeSegment(t, GROUPS, false)
  const { bytes, offsets } = made
  const torn = Buffer.from(bytes)
  torn.fill(0, offsets[LAST_GROUP], offsets[LAST_GROUP + 1])
  const { numbers, damages } = await openWith(t, made, Buffer.concat([torn, Buffer.alloc(10_000, 0xa5)]))
  t.same(numbers, [0, 1, 2, 3, 4, 5, 7, 8])
  t.same(damages, [])
})

test('what a client sends is never taken for a record', async t => {
  const path = temporaryDirectory(t)
  const log = await openLog(t, path)
  await log.append(bodyOf(0), 1)
  // A copy of the file with its record, at other offsets; it would be found when the search for records goes through it.
  await log.append(readFileSync(segmentFiles(path)[0] as string), 1)
  await log.append(bodyOf(2), 1)
  await log.close()
  const [file = ''] = segmentFiles(path)
  const bytes = readFileSync(file)
  bytes.writeUInt8(bytes.readUInt8(64 + 48 + 4) ^ 1, 64 + 48 + 4)
  writeFileSync(file, bytes)
  const again = await openLog(t, path)
  t.same(await numbersIn(again), [0, 2])
  t.equal(again.damages.length, 1)
})

/** Three segments of ten records each. */
async function threeSegments(t: Test): Promise<string> {
  const path = temporaryDirectory(t)
  for (const life of range(3)) {
    const log = await openLog(t, path)
    await Promise.all(range(10).map(n => log.append(bodyOf(life * 10 + n), 1)))
    await log.close()
  }
  return path
}

test('damage at the end of a segment is told by the next one', async t => {
  const path = await threeSegments(t)
  rmSync(join(path, 'dropped'))
  const [first = '', second = '', third = ''] = segmentFiles(path)
  writeFileSync(first, readFileSync(first).subarray(0, -1))
  writeFileSync(second, readFileSync(second).fill(0, 400))
  writeFileSync(third, readFileSync(third).subarray(0, -1))
  const log = await openLog(t, path)
  t.same(await numbersIn(log), [...range(9), ...range(17).slice(10), ...range(29).slice(20)])
  t.same(log.damages, [
    { file: basename(first), from: 64 + 9 * 48, to: 64 + 10 * 48, events: 1 },
    { file: basename(second), from: 64 + 7 * 48, to: 64 + 10 * 48, events: 3 },
  ])
})

test('a whole segment that is garbled is told, and kept', async t => {
  const path = await threeSegments(t)
  const [, second = ''] = segmentFiles(path)
  writeFileSync(second, Buffer.alloc(500, 'x'))
  const log = await openLog(t, path)
  t.same(await numbersIn(log), [...range(10), ...range(30).slice(20)])
  t.equal(
    log.damages.reduce((sum, { events = 0 }) => sum + events, 0),
    10,
  )
  t.equal(readFileSync(`${second}.damaged`, 'latin1'), 'x'.repeat(500))
  t.notOk(existsSync(second))
})

test('a damaged file is kept when the rest of it is dropped, and is not told of again', async t => {
  const path = await threeSegments(t)
  const [first = '', second = ''] = segmentFiles(path)
  const bytes = readFileSync(first)
  bytes.writeUInt8(0xff, 64 + 48)
  writeFileSync(first, bytes)
  const log = await openLog(t, path)
  const entries = await readEvents(log, log.events)
  t.equal(log.damages.length, 1)
  await log.dropThrough(entries[8]?.key as number, 9)
  await log.close()
  t.ok(readFileSync(`${first}.damaged`).equals(bytes))
  t.ok(existsSync(second))
  const again = await openLog(t, path)
  t.same(again.damages, [])
  t.same(await numbersIn(again), range(30).slice(10))
})

test('damage among what is dropped is no damage', async t => {
  const path = temporaryDirectory(t)
  const log = await openLog(t, path)
  await Promise.all(range(10).map(n => log.append(bodyOf(n), 1)))
  const entries = await readEvents(log, 10)
  await log.dropThrough(entries[4]?.key as number, 5)
  await log.close()
  const [file = ''] = segmentFiles(path)
  writeFileSync(file, readFileSync(file).fill(0, 64, 64 + 4 * 48))
  const again = await openLog(t, path)
  t.same(again.damages, [])
  t.same(await numbersIn(again), range(10).slice(5))
})

test('damage that comes while the log is open is told, and costs no other event', async t => {
  const path = await threeSegments(t)
  const log = await openLog(t, path)
  const damages: Damage[] = []
  log.damaged = damage => damages.push(damage)
  const [first = '', second = ''] = segmentFiles(path)
  const bytes = readFileSync(first)
  writeFileSync(first, bytes.fill(0, 200, 206))
  writeFileSync(second, readFileSync(second).subarray(0, 300))
  const entries = await readEvents(log, 30 - 1 - 6)
  t.same(entries.map(numberIn), [
    ...range(10).filter(n => n !== 2),
    ...range(14).slice(10),
    ...range(30).slice(20),
  ])
  t.same(damages, [
    { file: basename(first), from: 64 + 2 * 48, to: 64 + 3 * 48, events: 1 },
    { file: basename(second), from: 64 + 4 * 48, to: 64 + 10 * 48, events: 6 },
  ])
  t.equal(log.events, 23)
  await log.dropThrough(entries.at(-1)?.key as number, 23)
  await log.close()
  t.ok(existsSync(`${first}.damaged`))
  t.ok(existsSync(`${second}.damaged`))
})

test('a note of what is dropped that is garbled lets all be delivered again, and is told', async t => {
  const path = temporaryDirectory(t)
  const log = await openLog(t, path)
  await Promise.all(range(10).map(n => log.append(bodyOf(n), 1)))
  const entries = await readEvents(log, 10)
  for (const n of range(5)) await log.dropThrough(entries[n]?.key as number, 1)
  await log.close()
  const note = readFileSync(join(path, 'dropped'))
  const wrong: unknown[] = []
  // What is between the two slots says nothing.
  for (const at of [...range(72), ...range(64).map(n => 4096 + n)]) {
    const garbled = Buffer.from(note)
    garbled.writeUInt8(note.readUInt8(at) ^ 0xff, at)
    const copy = copyOf(t, path)
    writeFileSync(join(copy, 'dropped'), garbled)
    const again = await openLog(t, copy)
    // The other slot is the note before: at the worst one drop is forgotten.
    if (again.damages.length > 0 || ![5, 6].includes(again.events)) wrong.push([at, again.events])
    await again.close()
    rmSync(copy, { recursive: true })
  }
  t.same(wrong, [])

  writeFileSync(join(path, 'dropped'), note.fill('x'))
  const again = await openLog(t, path)
  t.same(again.damages, [{ file: 'dropped', from: 0, to: note.length, events: 0 }])
  t.same(await numbersIn(again), range(10))
})

test('damage to a dead letter is told, and costs no other', async t => {
  const path = temporaryDirectory(t)
  const log = await openLog(t, path)
  await Promise.all(range(4).map(n => log.append(bodyOf(n), 1)))
  for (const { key, value } of await readEvents(log, 4)) await log.addDead(key, value)
  await log.close()
  const [file = ''] = segmentFiles(path, /^dead-/)
  const bytes = readFileSync(file)
  bytes.writeUInt8(bytes.readUInt8(64 + 48 + 30) ^ 1, 64 + 48 + 30)
  writeFileSync(file, bytes)
  const again = await openLog(t, path)
  t.same(again.damages, [{ file: basename(file), from: 64 + 48, to: 64 + 96, events: 1 }])
  t.same([...again.readDead()].map(numberIn), [0, 2, 3])
  t.same(await numbersIn(again), [1], 'it is delivered again')
})

test('what another version wrote is refused, in words', async t => {
  const refusal = { message: /^another version of frequency wrote it. Let that version archive/ }
  for (const name of ['data.mdb', '0000000000004096.mdb']) {
    const path = temporaryDirectory(t)
    writeFileSync(join(path, name), 'x')
    await t.rejects(openLog(t, path), refusal, name)
    t.same(readdirSync(path), [name], 'and left as it is')
  }
  const made = await makeSegment(t, [1], true)
  const segment = Buffer.from(made.bytes)
  const { seal } = parseSegmentName('', made.file) as SegmentName
  segment.writeUInt32LE(4, 16)
  segment.writeUInt32LE(crc32(segment.subarray(0, 60), seal.seed), 60)
  await t.rejects(openWith(t, made, segment), refusal, 'a segment')
  const note = readFileSync(join(made.path, 'dropped'))
  const slot = note.subarray(4096)
  slot.writeUInt8(4, 15)
  slot.writeUInt32LE(crc32(slot.subarray(0, 60)), 60)
  writeFileSync(join(made.path, 'dropped'), note)
  await t.rejects(openWith(t, made, made.bytes), refusal, 'the note of what is dropped')
})
