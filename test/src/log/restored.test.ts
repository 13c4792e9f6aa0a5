/** A bucket is restored from a backup while archivers run. The only promise is that an archiver reports it. */
import { type Test, test } from 'tap'
import { archive, openServer, openWriter, type Place, type Writer } from '../../helpers/log-helper.ts'
import { keysOf } from '../../helpers/store-helper.ts'

interface Restored {
  readonly place: Place
  /** An archiver that runs during the restore. */
  readonly writer: Writer
}

/** The backup has three records. Two more were appended after it. */
async function restore(t: Test): Promise<Restored> {
  const place = await openServer(t)
  const writer = await openWriter(t, place)
  const { store, keys } = writer
  for (const id of ['a', 'b', 'c']) await archive(writer, [id])
  const backup = new Set(await keysOf(store, ''))
  const head = (await store.read(keys.head)).object?.body
  for (const id of ['d', 'e']) await archive(writer, [id])
  await store.remove((await keysOf(store, '')).filter(key => !backup.has(key)))
  if (head !== undefined) await store.replace(keys.head, head)
  return { place, writer }
}

test('an archiver that runs on reports at its next fold that records are gone', async t => {
  const { writer } = await restore(t)
  await archive(writer, ['f'])
  await t.rejects(writer.folder.fold(), {
    code: 'FRQ_LOG_DAMAGED',
    message: /log record 4 cannot be used: it is gone/,
  })
})

test('an archiver that starts after another has run on reports that the log ends too early', async t => {
  const { place, writer } = await restore(t)
  await archive(writer, ['f'])
  const newWriter = await openWriter(t, place)
  await t.rejects(newWriter.commitLog.follow(), {
    code: 'FRQ_LOG_REFUSED',
    message: /log ends at record 3, but record 6 existed/,
  })
})

test('an archiver that starts first archives again, and stops at the record of one that runs on', async t => {
  const { place, writer } = await restore(t)
  const newWriter = await openWriter(t, place)
  await archive(newWriter, ['d'])
  await archive(newWriter, ['e'])
  await archive(writer, ['f'])
  await t.rejects(newWriter.commitLog.follow(), {
    code: 'FRQ_LOG_DAMAGED',
    message: /log record 6 cannot be used: it names another predecessor/,
  })
  const later = await openWriter(t, place)
  await t.rejects(later.commitLog.follow(), { code: 'FRQ_LOG_DAMAGED' })
})
