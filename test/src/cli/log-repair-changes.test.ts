/** Repairs records of erasures and expiries: what they said of objects of earlier records is known again, or told. */
import t, { type Test } from 'tap'
import { LogRepair, type RepairPlan } from '../../../src/cli/log/repair-log.ts'
import { resultOf } from '../../../src/cli/verify/report.ts'
import { type Run, runProgram } from '../../bin/program.ts'
import {
  build,
  damage,
  flipped,
  openArchive,
  storeWith,
  type TestArchive,
  verified,
} from '../../helpers/archive-by-hand.ts'
import { queriedIds, useBuiltEngine } from '../../helpers/compact-helper.ts'
import { erased, stagedKeys } from '../../helpers/erase-helper.ts'
import { copied, DAY_MS, eventOn, expired, NOW, putEvents } from '../../helpers/expire-helper.ts'

const IS_A = "message_id = 'a'"

await useBuiltEngine(t)

interface Damaged {
  readonly archive: TestArchive
  /** The record of the erasure, or of the expiry. */
  readonly number: number
  readonly record: string
  /** By their day. */
  readonly objects: readonly string[]
}

/** An archive with an object each of days -4, -3 and 0. */
async function archiveOfDays(t: Test): Promise<{ archive: TestArchive; objects: string[] }> {
  const archive = await openArchive(t, 'directory')
  const objects = [
    await putEvents(archive, [eventOn(-4, 1, 'a'), eventOn(-4, 2, 'b')]),
    await putEvents(archive, [eventOn(-3, 1, 'c')]),
    await putEvents(archive, [eventOn(0, 1, 'd')]),
  ]
  await build(archive, archive.store)
  return { archive, objects }
}

async function lastRecord(archive: TestArchive): Promise<Pick<Damaged, 'number' | 'record'>> {
  const number = (await verified(archive, archive.store)).log?.position as number
  return { number, record: archive.keys.record(number) }
}

async function erasedArchive(
  t: Test,
  store?: (archive: TestArchive) => TestArchive['store'],
): Promise<Damaged> {
  const { archive, objects } = await archiveOfDays(t)
  const erasing = erased(t, archive, store?.(archive) ?? archive.store, IS_A)
  await (store === undefined ? erasing : erasing.catch(() => {}))
  return { archive, objects, ...(await lastRecord(archive)) }
}

/** A copy of what `made` makes, with its record damaged. */
async function damagedCopy(t: Test, { archive, ...rest }: Damaged, harm: Harm): Promise<Damaged> {
  const copy = { ...rest, archive: await copied(t, archive) }
  await damage(copy.archive.store, copy.record, harm)
  return copy
}

async function expiredArchive(t: Test): Promise<Damaged> {
  const { archive, objects } = await archiveOfDays(t)
  await expired(archive, { days: 2 })
  return { archive, objects, ...(await lastRecord(archive)) }
}

async function repaired({ archive, number }: Damaged): Promise<RepairPlan> {
  const repair = new LogRepair(archive.store, archive.prefix, number)
  return repair.run(await repair.plan())
}

async function repairedByCommand(t: Test, { archive, number }: Damaged): Promise<Run> {
  const args = ['log', 'repair', String(number), String(archive.settings.ARCHIVE_URL), '--yes']
  return await runProgram(t, process.argv[1] as string, args, { ...process.env })
}

const EXPIRED_BEFORE = NOW - 2.5 * DAY_MS
const NOTHING_LEFT = { unproven: [], unexpired: undefined, gone: { objects: 0 }, unnamedStaged: 0 }
/** Of the head, so that its JSON can be read. */
type Harm = (bytes: Buffer) => Buffer
const checksumFlipped: Harm = bytes => flipped(bytes.readUInt32LE(8) - 1)(bytes)
/** Within the JSON, so that it cannot be read. */
const jsonFlipped: Harm = bytes => flipped(16)(bytes)

/** Flips one bit of the JSON: in the last byte that a pattern matches. */
const bitFlipped =
  (pattern: RegExp, bit: number): Harm =>
  bytes => {
    const { index, 0: text } = pattern.exec(bytes.toString('latin1')) as RegExpExecArray
    const at = index + text.length - 1
    bytes[at] = (bytes[at] as number) ^ bit
    return bytes
  }
/** Of a hexadecimal number, so that it still is one. */
const sha256Changed = bitFlipped(/"sha256":"[a-f]*\d/, 1)
/** 1.7 × 10¹² becomes 1.5 × 10¹². */
const expiredEarlier = bitFlipped(/"expiredBefore":17/, 2)
const rewritesRenamed = bitFlipped(/"rewrites/, 1)
const expiredBeforeRenamed = bitFlipped(/"expiredBefore/, 2)

const killed = ({ store }: TestArchive) =>
  storeWith(store, { moveAll: () => Promise.reject(new Error('killed')) })
let erasure: Damaged
let interruptedErasure: Damaged
let expiry: Damaged

t.before(async () => {
  erasure = await erasedArchive(t)
  interruptedErasure = await erasedArchive(t, killed)
  expiry = await expiredArchive(t)
})

async function assertClean(t: Test, archive: TestArchive, how = 'clean'): Promise<void> {
  t.equal(resultOf(await verified(archive, archive.store)), 'clean', how)
}

t.test('the rewrites of an erasure are known again', async t => {
  for (const harm of [checksumFlipped, jsonFlipped]) {
    const damaged = await damagedCopy(t, erasure, harm)
    const { lost } = await repaired(damaged)
    t.match(lost, { ...NOTHING_LEFT, rewrites: [{ key: erasure.objects[0] }] }, harm.name)
    await assertClean(t, damaged.archive, harm.name)
  }
  const missing = await damagedCopy(t, erasure, jsonFlipped)
  const { store, keys } = missing.archive
  await store.replace(keys.head, Buffer.from(String(missing.number)))
  await store.remove([missing.record])
  t.match(await repaired(missing), { isGone: true, lost: { rewrites: [{ key: erasure.objects[0] }] } })
  await assertClean(t, missing.archive)
  t.strictSame(await queriedIds(t, missing.archive), [...'abcd'])
})

t.test('an erasure that was interrupted, and whose record is damaged', async t => {
  const readable = await damagedCopy(t, interruptedErasure, checksumFlipped)
  t.match((await repaired(readable)).lost, { ...NOTHING_LEFT, rewrites: [{ key: readable.objects[0] }] })
  t.match((await verified(readable.archive, readable.archive.store)).log, {
    unerased: { objects: 1 },
    changed: { objects: 0 },
  })
  const unreadable = await damagedCopy(t, interruptedErasure, jsonFlipped)
  t.match(await repairedByCommand(t, unreadable), {
    code: 1,
    stdout:
      /An erasure has staged 1 object that no record names\. .*"frequency erase" with the same condition/,
  })
  for (const { archive } of [readable, unreadable]) {
    await erased(t, archive, archive.store, IS_A)
    await assertClean(t, archive)
  }
})

t.test('a rewrite whose bytes are nowhere is told', async t => {
  const damaged = await damagedCopy(t, erasure, checksumFlipped)
  const [key = ''] = damaged.objects
  await damage(damaged.archive.store, key, bytes => bytes.subarray(0, -1))
  t.match(await repairedByCommand(t, damaged), {
    code: 1,
    stdout: new RegExp(`Restore them from a backup, and run the erasure again:\\n  ${key}\\n`),
  })
})

t.test('the bytes of an earlier erasure do not prove a later one', async t => {
  const { objects, ...first } = erasure
  const archive = await copied(t, first.archive)
  await erased(t, archive, killed(archive), "message_id = 'b'").catch(() => {})
  const damaged = { archive, objects, ...(await lastRecord(archive)) }
  await archive.store.remove(await stagedKeys(archive))
  await damage(archive.store, damaged.record, sha256Changed)
  t.not(damaged.number, first.number)
  t.match((await repaired(damaged)).lost, { rewrites: [], unproven: [objects[0]] })
})

t.test('a rewrite is known again though its digest or its name in the record is wrong', async t => {
  for (const harm of [sha256Changed, rewritesRenamed]) {
    const damaged = await damagedCopy(t, erasure, harm)
    t.match((await repaired(damaged)).lost, { ...NOTHING_LEFT, rewrites: [{ key: erasure.objects[0] }] })
    await assertClean(t, damaged.archive)
  }
  const staged = await damagedCopy(t, interruptedErasure, sha256Changed)
  t.match((await repaired(staged)).lost, { ...NOTHING_LEFT, rewrites: [{ key: staged.objects[0] }] })
  await erased(t, staged.archive, staged.archive.store, IS_A)
  await assertClean(t, staged.archive)
})

t.test('objects that no record names do not hide what an erasure or an expiry has changed', async t => {
  const rewritten = await damagedCopy(t, erasure, jsonFlipped)
  const unknown = await putEvents(rewritten.archive, [eventOn(-3, 1, 'x')])
  t.match(await repaired(rewritten), {
    batches: [{ key: unknown }],
    lost: { ...NOTHING_LEFT, rewrites: [{ key: erasure.objects[0] }] },
  })
  await assertClean(t, rewritten.archive)
  t.strictSame(await queriedIds(t, rewritten.archive), [...'abcdx'])
  const removed = await damagedCopy(t, expiry, jsonFlipped)
  await putEvents(removed.archive, [eventOn(0, 2, 'x')])
  t.match((await repaired(removed)).lost, { gone: { objects: 2, list: expiry.objects.slice(0, 2) } })
})

t.test(
  'a time of an expiry that the objects do not prove is not taken, and what is gone is told',
  async t => {
    for (const harm of [expiredEarlier, expiredBeforeRenamed]) {
      const damaged = await damagedCopy(t, expiry, harm)
      const { lost } = await repaired(damaged)
      t.match(lost, { expiredBefore: undefined, gone: { objects: 2, list: expiry.objects.slice(0, 2) } })
      await expired(damaged.archive, { days: 2 })
      await assertClean(t, damaged.archive)
    }
    const restored = await damagedCopy(t, expiry, expiredEarlier)
    for (const [index, ids] of [[...'ab'], ['c']].entries()) {
      const key = await putEvents(
        restored.archive,
        ids.map((id, at) => eventOn(index - 4, at + 1, id)),
      )
      await restored.archive.store.move(key, restored.objects[index] as string)
    }
    t.match((await repaired(restored)).lost, { ...NOTHING_LEFT, expiredBefore: undefined })
    const deleted = await damagedCopy(t, expiry, checksumFlipped)
    await deleted.archive.store.remove([deleted.objects[2] as string])
    t.match((await repaired(deleted)).lost, { expiredBefore: undefined, gone: { objects: 3 } })
  },
)

t.test('an object that was changed by somebody is no rewrite', async t => {
  const damaged = await damagedCopy(t, erasure, jsonFlipped)
  const { archive, objects } = damaged
  await archive.store.move(await putEvents(archive, [eventOn(-3, 1, 'x')]), objects[1] as string)
  t.match((await repaired(damaged)).lost.rewrites, [{ key: objects[0] }])
  t.match((await verified(archive, archive.store)).log, { changed: { objects: 1, list: [objects[1]] } })
})

t.test('an expiry is known again from the head of its record', async t => {
  const damaged = await damagedCopy(t, expiry, checksumFlipped)
  t.match((await repaired(damaged)).lost, { ...NOTHING_LEFT, expiredBefore: EXPIRED_BEFORE })
  await assertClean(t, damaged.archive)
})

t.test('an expiry that nothing proves is told, and the next run of expire records it again', async t => {
  const unreadable = await damagedCopy(t, expiry, jsonFlipped)
  t.match(await repairedByCommand(t, unreadable), {
    code: 1,
    stdout:
      /that are gone\. If RETENTION or RAW_RETENTION has removed them, run "frequency expire"[^\n]*:\n {2}\S+\n {2}\S+\n/,
  })
  const halfDone = await damagedCopy(t, expiry, checksumFlipped)
  const key = await putEvents(halfDone.archive, [eventOn(-3, 1, 'c')])
  await halfDone.archive.store.move(key, halfDone.objects[1] as string)
  t.match((await repaired(halfDone)).lost, {
    ...NOTHING_LEFT,
    expiredBefore: undefined,
    unexpired: { before: EXPIRED_BEFORE, objects: 1 },
    gone: { objects: 1, list: [halfDone.objects[0]] },
  })
  for (const [{ archive }, missing] of [
    [unreadable, 2],
    [halfDone, 1],
  ] as const) {
    const findings = await verified(archive, archive.store)
    t.match(findings.log, { missing: { objects: missing } })
    await expired(archive, { days: 2 })
    await assertClean(t, archive)
  }
})
