/** Recovery of a log on disk from truncated and corrupted files. */
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

/** Opens a log whose only segment has these bytes. `numbers`: the events that it delivers; `left`: its files after. */
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

test('of a truncated file all complete records are delivered, and nothing else', async t => {
  for (const isNoted of [false, true]) {
    const made = await makeSegment(t, GROUPS, isNoted)
    const { bytes, offsets } = made
    const wrong: unknown[] = []
    for (const cutAt of range(bytes.length)) {
      const { numbers, damages } = await openWith(t, made, bytes.subarray(0, cutAt))
      const complete = Math.max(0, recordAt(made, cutAt))
      const isRight = JSON.stringify(numbers) === JSON.stringify(range(complete))
      const from = complete === 0 && cutAt < 64 ? 0 : offsets[complete]
      const isReportRight = isNoted
        ? damages[0]?.from === from && damages.at(-1)?.to === bytes.length
        : damages.length === 0
      if (!isRight || !isReportRight) wrong.push({ cutAt, numbers, damages })
    }
    t.same(wrong, [], `${bytes.length} files, ${isNoted ? 'noted as synced: damaged' : 'torn'}`)
  }
})

test('a corrupt byte loses only its record, and is reported unless it may be a torn tail', async t => {
  for (const isNoted of [false, true])
    for (const mask of [0xff, 0x01]) {
      const made = await makeSegment(t, GROUPS, isNoted)
      const { bytes, offsets, file } = made
      const wrong: unknown[] = []
      for (const at of range(bytes.length)) {
        const corrupt = Buffer.from(bytes)
        corrupt.writeUInt8(bytes.readUInt8(at) ^ mask, at)
        const { numbers, damages, left } = await openWith(t, made, corrupt)
        const hit = recordAt(made, at)
        const isReported = hit < LAST_GROUP || isNoted
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
          JSON.stringify(damages) === JSON.stringify(isReported ? [damage] : []) &&
          left.includes(file)
        if (!isRight) wrong.push({ at, hit, numbers, damages })
      }
      t.same(wrong, [], `${bytes.length} files, ${isNoted ? 'noted as synced' : 'not noted'}`)
    }
})

/** Number of events in a record of `makeSegment`. */
function countOf(n: number): number {
  let first = 0
  for (const size of GROUPS) {
    if (n < first + size) return 1 + ((n - first) % 3)
    first += size
  }
  throw new Error(`There is no record ${n}`)
}

test('zeros and garbage in the last group are a torn tail, and its complete records are kept', async t => {
  const made = await makeSegment(t, GROUPS, false)
  const { bytes, offsets } = made
  const torn = Buffer.from(bytes)
  torn.fill(0, offsets[LAST_GROUP], offsets[LAST_GROUP + 1])
  const { numbers, damages } = await openWith(t, made, Buffer.concat([torn, Buffer.alloc(10_000, 0xa5)]))
  t.same(numbers, [0, 1, 2, 3, 4, 5, 7, 8])
  t.same(damages, [])
})

test('bytes from a client are never taken for a record', async t => {
  const path = temporaryDirectory(t)
  const log = await openLog(t, path)
  await log.append(bodyOf(0), 1)
  // A body that is a copy of the file. The search for records, which the corrupt byte below starts, passes through it.
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
  for (const run of range(3)) {
    const log = await openLog(t, path)
    await Promise.all(range(10).map(n => log.append(bodyOf(run * 10 + n), 1)))
    await log.close()
  }
  return path
}

test('damage at the end of a segment is found by the header of the next one', async t => {
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

test('a segment that is corrupt throughout is reported, and kept', async t => {
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

test('a damaged file is kept after its other records are dropped, and is not reported again', async t => {
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

test('damage to dropped records is not reported', async t => {
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

test('damage to an open log is reported, and loses no other event', async t => {
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

test('a corrupt file "dropped" is reported, and all events are delivered again', async t => {
  const path = temporaryDirectory(t)
  const log = await openLog(t, path)
  await Promise.all(range(10).map(n => log.append(bodyOf(n), 1)))
  const entries = await readEvents(log, 10)
  for (const n of range(5)) await log.dropThrough(entries[n]?.key as number, 1)
  await log.close()
  const note = readFileSync(join(path, 'dropped'))
  const wrong: unknown[] = []
  // All bytes of both slots. The bytes between them have no meaning.
  for (const at of [...range(72), ...range(64).map(n => 4096 + n)]) {
    const corrupt = Buffer.from(note)
    corrupt.writeUInt8(note.readUInt8(at) ^ 0xff, at)
    const copy = copyOf(t, path)
    writeFileSync(join(copy, 'dropped'), corrupt)
    const again = await openLog(t, copy)
    // The other slot has the previous note, so at most one drop is forgotten.
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

test('damage to a dead letter is reported, and loses no other', async t => {
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
  t.same(await numbersIn(again), [1], 'its event is delivered again')
})

test('files of another version are refused with a message that says what to do', async t => {
  const refusal = { message: /^another version of frequency wrote it. Let that version archive/ }
  const former = (name: string) => ({
    message: new RegExp(
      `^frequency 0.1 wrote the file ${name} there, and events may be in it. Start frequency 0.1`,
    ),
  })
  for (const name of ['data.mdb', '0000000000004096.mdb']) {
    const path = temporaryDirectory(t)
    writeFileSync(join(path, name), 'x')
    await t.rejects(openLog(t, path), former(name), name)
    t.same(readdirSync(path), [name], 'the files are left as they are')
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
  await t.rejects(openWith(t, made, made.bytes), refusal, 'the file "dropped"')
})
