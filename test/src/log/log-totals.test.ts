/** The totals of a log: from its records, from its manifests, and after a restart. */
import { test } from 'tap'
import type { LogRecord } from '../../../src/log/log-record.ts'
import { LogTotals } from '../../../src/log/log-totals.ts'
import type { Manifest } from '../../../src/log/manifest.ts'
import {
  archivedEvents,
  build,
  objectOf,
  openArchive,
  putObject,
  type TestArchive,
} from '../../helpers/archive-by-hand.ts'

function recordOf(number: number, events: readonly number[], voids: LogRecord['voids'] = []): LogRecord {
  const batches = events.map(each => ({ events: each }))
  return { number, batches, voids } as unknown as LogRecord
}

function manifestOf(through: number, events: number, objects: number): Manifest {
  return { through, total: { events, objects } } as Manifest
}

class Folded {
  manifest: Manifest | undefined
  get number(): number {
    return this.manifest?.through ?? 0
  }
}

async function neverRead(): Promise<never> {
  throw new Error('nothing is to be read')
}

async function archiveOfThree(t: Parameters<typeof openArchive>[0]): Promise<TestArchive> {
  const archive = await openArchive(t, 'directory')
  for (const events of [10, 20, 30]) await putObject(archive, objectOf(archivedEvents(events)))
  await build(archive, archive.store, { recordEventsMax: 1000, recordObjectsMax: 1 })
  return archive
}

test('applied records are counted, without void batches', async t => {
  const watermark = new Folded()
  const totals = new LogTotals({ reader: { record: neverRead }, watermark })
  t.same(totals.total(0), { events: 0, objects: 0 })
  totals.applied(recordOf(1, [10, 5]), true)
  totals.applied(recordOf(2, [7]))
  t.same(totals.total(2), { events: 22, objects: 3 })
  totals.applied(recordOf(3, [], [{ number: 1, batch: 1 }]))
  totals.applied(recordOf(4, [], [{ number: 1, batch: 1 }]))
  t.same(totals.total(4), { events: 17, objects: 2 }, 'each is counted once')
  t.same(totals.total(2), { events: 17, objects: 2 })
  t.equal(totals.commits, 1)
  totals.conflicted()
  t.equal(totals.conflicts, 1)
  t.ok(Date.now() - (totals.lastCommitAt as number) < 60_000)

  watermark.manifest = manifestOf(3, 17, 2)
  t.same(totals.total(4), { events: 17, objects: 2 })
  await totals.countUpTo(4)
  totals.applied(recordOf(5, [3]))
  t.same(totals.total(5), { events: 20, objects: 3 })
})

test('records that were applied before a restart are read', async t => {
  const { reader } = await archiveOfThree(t)
  const watermark = new Folded()
  const totals = new LogTotals({ reader, watermark })
  t.equal(totals.total(3), undefined, 'not known yet')
  const { record } = await reader.record(3)
  totals.applied(record as LogRecord)
  t.equal(totals.total(3), undefined)
  await totals.countUpTo(3)
  t.same(totals.total(3), { events: 60, objects: 3 })

  const later = new LogTotals({
    reader,
    watermark: Object.assign(new Folded(), { manifest: manifestOf(2, 31, 2) }),
  })
  await later.countUpTo(3)
  const { events } = record?.batches[0] ?? { events: 0 }
  t.same(later.total(3), { events: 31 + events, objects: 3 })
})
