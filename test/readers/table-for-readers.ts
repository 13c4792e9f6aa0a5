/** A table in a directory, as a year of use leaves it: added columns, rewritten files, removed files, no hour. */
import type { Test } from 'tap'
import { openStore } from '../../src/store/open-store.ts'
import { commitIceberg } from '../../src/table/iceberg/commit-iceberg.ts'
import { expireSnapshots } from '../../src/table/iceberg/expire-snapshots.ts'
import { configOf, range, temporaryDirectory } from '../helpers/helper.ts'
import { AMOUNT, FIRST_HOUR, PLAN, TestTable } from '../helpers/table-helper.ts'
import { type Found, HOURS } from './readers.ts'

export interface TableForReaders {
  /** Path of the table: `data/` and `metadata/` are below it. */
  readonly path: string
  readonly expected: Found
  /** Paths of the files that have the rows of HOURS. */
  readonly hourFiles: readonly string[]
  /** Paths of all files in Iceberg. */
  readonly files: readonly string[]
}

const HOURS_OF_TABLE = 30
const ROWS = 20

export async function makeTable(t: Test): Promise<TableForReaders> {
  const root = temporaryDirectory(t)
  const store = await openStore(configOf({ ARCHIVE_URL: root }))
  const table = new TestTable(store, 'frequency', root)
  const commit = () => commitIceberg(table.parts, table.state)
  for (const n of range(HOURS_OF_TABLE)) {
    table.append({ added: [await table.file({ hour: FIRST_HOUR + n, rows: ROWS, name: `first-${n}` })] })
    await commit()
  }
  const typed = [PLAN, AMOUNT]
  table.append({ columns: typed, added: [await table.file({ hour: null, rows: 7, name: 'no-time', typed })] })
  await commit()
  for (const n of range(3)) {
    table.append({
      added: [await table.file({ hour: FIRST_HOUR + n, rows: 10, name: `second-${n}`, typed })],
    })
    await commit()
  }
  // An erasure replaces a file at its key, for globs, and writes another one for Iceberg.
  const erased = { hour: FIRST_HOUR + 5, rows: ROWS - 8, name: 'first-5' }
  await table.file(erased)
  const path = `${table.keys.rewritten}first-5-1.parquet`
  table.append({ replaced: [await table.file({ ...erased, path })] })
  await commit()
  const removed = table.keys.dataFile(FIRST_HOUR + 9, 'first-9')
  table.append({ removed: [removed] })
  await commit()
  await store.remove([removed])
  await expireSnapshots(table.parts, { keptMs: 3_600_000, keptMax: 3 })
  const files = [...table.state.files.values()]
  const rows = files.reduce((sum, file) => sum + file.rows, 0)
  const hourOf = (text: string) => Date.parse(`${text}Z`) / 3_600_000
  const isIn = (hour: number | null) => hour !== null && hour >= hourOf(HOURS.from) && hour < hourOf(HOURS.to)
  const hourFiles = files.filter(file => isIn(file.hour))
  return {
    path: `${root}/${table.keys.table.slice(0, -1)}`,
    expected: {
      rows,
      messageIds: rows,
      pro: 4 + 3 * 5,
      amountSum: 7 * 3.5 + 3 * 50,
      withoutTime: 7,
      inHours: hourFiles.reduce((sum, file) => sum + file.rows, 0),
    },
    hourFiles: hourFiles.map(file => table.toUri(file.path)),
    files: files.map(file => table.toUri(file.path)),
  }
}
