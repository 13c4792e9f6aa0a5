/** Files that are made before they are wanted. */
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { FilesAhead } from '../../../src/erase/files-ahead.ts'
import type { AffectedFile, ErasedFile } from '../../../src/erase/rewrite-files.ts'

const MIB = 1024 * 1024

function affected(path: string, bytes = MIB): AffectedFile {
  return {
    file: { key: `k/${path}`, path, bytes, hour: 1, rows: 1, stats: {}, typedColumns: 0 },
    events: 1,
    places: { parquet: '', path },
  }
}

function making() {
  const begun: string[] = []
  const failing = new Set<string>()
  let underWay = 0
  const make = async (file: AffectedFile): Promise<ErasedFile> => {
    const { path } = file.file
    const number = begun.push(path)
    if (++underWay > 2) throw new Error('three are made at once')
    await setImmediate()
    underWay--
    if (failing.delete(path)) throw new Error(`${path} fails`)
    return { ...file, made: `made ${number}`, stats: {} }
  }
  return { begun, failing, make }
}

async function settled(): Promise<void> {
  for (let n = 0; n < 50; n++) await setImmediate()
}

t.test('files are made in their order, two at once, and each once', async t => {
  const { begun, make } = making()
  const files = ['a', 'b', 'c'].map(path => affected(path))
  const ahead = new FilesAhead(files, make)
  await settled()
  t.strictSame(begun, ['a', 'b', 'c'])
  const taken = []
  for (const each of files) taken.push((await ahead.take(each)).made)
  t.strictSame(taken, ['made 1', 'made 2', 'made 3'])
  t.strictSame(begun, ['a', 'b', 'c'])
})

t.test('no more bytes are made ahead than is allowed, and the rest when one is taken', async t => {
  const { begun, make } = making()
  const files = ['a', 'b', 'c', 'd'].map(path => affected(path, 200 * MIB))
  const ahead = new FilesAhead(files, make)
  await settled()
  t.strictSame(begun, ['a', 'b'])
  await ahead.take(files[0] as AffectedFile)
  await settled()
  t.strictSame(begun, ['a', 'b', 'c'], '200 MiB were left')
  await ahead.take(files[1] as AffectedFile)
  await settled()
  t.strictSame(begun, ['a', 'b', 'c', 'd'])
})

t.test('a file whose path has changed is made of what the table has now', async t => {
  const { begun, make } = making()
  const ahead = new FilesAhead([affected('a')], make)
  await settled()
  t.match(await ahead.take(affected('new')), { file: { path: 'new' }, made: 'made 2' })
  t.strictSame(begun, ['a', 'new'])
})

t.test('a file that could not be made ahead is made again, and its error is thrown then', async t => {
  const { begun, failing, make } = making()
  failing.add('a')
  const ahead = new FilesAhead([affected('a'), affected('b'), affected('c')], make)
  await settled()
  t.strictSame(begun, ['a', 'b'], 'no other is tried')
  t.match(await ahead.take(affected('a')), { made: 'made 3' })
  failing.add('c')
  await t.rejects(ahead.take(affected('c')), { message: 'c fails' })
})

t.test('a file that is taken has what the table says of it now', async t => {
  const { make } = making()
  const ahead = new FilesAhead([affected('a')], make)
  t.match(await ahead.take({ ...affected('a'), events: 7 }), { events: 7, made: 'made 1' })
})

t.test('no file is begun after it was stopped', async t => {
  const { begun, make } = making()
  const ahead = new FilesAhead([affected('a'), affected('b'), affected('c')], make)
  ahead.stop()
  await settled()
  t.strictSame(begun, ['a', 'b'])
})
