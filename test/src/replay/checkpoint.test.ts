import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { Checkpoint, type ReplayState } from '../../../src/replay/checkpoint.ts'
import { temporaryDirectory } from '../../helpers/helper.ts'

const LINE_BYTES = 1024

function stateOf(sent: number): ReplayState {
  return {
    id: '0123456789abcdef',
    range: { since: Number.MAX_SAFE_INTEGER, until: Number.MAX_SAFE_INTEGER },
    snapshot: { record: Number.MAX_SAFE_INTEGER, sha256: 'f'.repeat(64) },
    position: {
      since: Number.MAX_SAFE_INTEGER,
      until: Number.MAX_SAFE_INTEGER,
      isUntimed: false,
      lines: Number.MAX_SAFE_INTEGER,
      lastLine: 'f'.repeat(16),
    },
    counted: Number.MAX_SAFE_INTEGER,
    sent,
    skipped: Number.MAX_SAFE_INTEGER,
    outputBytes: Number.MAX_SAFE_INTEGER,
    skippedBytes: Number.MAX_SAFE_INTEGER,
    isDone: false,
  }
}

async function saved(t: Test, ...counts: number[]): Promise<string> {
  const path = join(temporaryDirectory(t), 'a', 'checkpoint')
  const checkpoint = await Checkpoint.open(path, stateOf(0))
  for (const sent of counts) checkpoint.save(stateOf(sent))
  await checkpoint.close()
  return path
}

test('the last state is read, also by the next run', async t => {
  t.equal(await Checkpoint.read(join(temporaryDirectory(t), 'none')), undefined)
  for (const counts of [[], [1], [1, 2], [1, 2, 3]]) {
    const path = await saved(t, ...counts)
    t.strictSame(await Checkpoint.read(path), stateOf(counts.length))
    t.equal(readFileSync(path).length, 2 * LINE_BYTES)
    const next = await Checkpoint.open(path, stateOf(0))
    next.save(stateOf(9))
    await next.close()
    t.match(await Checkpoint.read(path), { sent: 9 })
  }
})

test('a line that was cut short does not count, and a file of something else is refused', async t => {
  const path = await saved(t, 1, 2, 3)
  truncateSync(path, LINE_BYTES + 300)
  t.match(await Checkpoint.read(path), { sent: 2 })
  writeFileSync(path, 'something else\n')
  await t.rejects(Checkpoint.read(path), { message: /is not a checkpoint of frequency replay/ })
})
