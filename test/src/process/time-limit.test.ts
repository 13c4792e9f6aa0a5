import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'tap'
import { withTimeLimit } from '../../../src/process/time-limit.ts'

const never = new Promise<never>(() => {})

test('work that is done in time settles as it does', async t => {
  t.equal(await withTimeLimit(delay(1, 'done'), 60_000, () => 'late'), 'done')
  await t.rejects(
    withTimeLimit(Promise.reject(new Error('broken')), 60_000, () => 'late'),
    { message: 'broken' },
  )
})

test('work that takes too long settles as `late` says', async t => {
  t.equal(await withTimeLimit(never, 5, () => 'late'), 'late')
  const late = () => {
    throw new Error('no answer')
  }
  await t.rejects(withTimeLimit(never, 5, late), { message: 'no answer' })
})

test('a rejection after the limit ends nothing', async t => {
  let reject!: (error: Error) => void
  const work = new Promise<never>((_, onReject) => {
    reject = onReject
  })
  t.equal(await withTimeLimit(work, 5, () => 'late'), 'late')
  const unhandled: unknown[] = []
  const note = (error: unknown) => unhandled.push(error)
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  reject(new Error('too late'))
  await new Promise(setImmediate)
  t.same(unhandled, [])
})

test('no timer is left', async t => {
  const before = process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
  await withTimeLimit(Promise.resolve(), 60_000, () => {})
  t.equal(process.getActiveResourcesInfo().filter(name => name === 'Timeout').length, before)
})
