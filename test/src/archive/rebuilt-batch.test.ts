import { test } from 'tap'
import { Batch } from '../../../src/archive/batch.ts'
import { logKeys } from '../../../src/log/log-keys.ts'
import { openStore } from '../../../src/store/open-store.ts'
import { configOf, range, temporaryDirectory } from '../../helpers/helper.ts'

for (const format of ['ndjson', 'json'] as const) {
  test(`a batch that is rebuilt as ${format} has the span of its remaining events`, async t => {
    const store = await openStore(configOf({ ARCHIVE_URL: temporaryDirectory(t) }))
    t.teardown(() => store.close())
    const keys = logKeys('p')
    const parts = { store, keys, format, compression: 'none', isShared: () => false } as const
    const times = [1_000, 500, 9_000, 2_000].map(ms => Date.UTC(2026, 10, 24) + ms)
    const batch = new Batch(times[0] as number, parts, () => {})
    for (const [n, at] of times.entries()) {
      batch.note(Buffer.alloc(16, n), 0, at)
      batch.write(Buffer.from(JSON.stringify({ n, receivedAt: new Date(at).toISOString() })), 1)
    }
    await batch.seal('events')
    t.same([batch.firstReceivedAt, batch.lastReceivedAt], [times[1], times[2]])
    for (const n of [1, 2]) batch.markDuplicate(n, undefined)
    await batch.dropDuplicates()
    t.equal(batch.events, 2)
    t.same([batch.firstReceivedAt, batch.lastReceivedAt], [times[0], times[3]])
    t.same(
      range(2).map(n => batch.ids[n * 16]),
      [0, 3],
    )
  })
}
