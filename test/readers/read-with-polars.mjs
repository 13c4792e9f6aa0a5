// Reads the files of the table with nodejs-polars, and prints what it finds as JSON.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fromReaders } from './installed.mjs'

const pl = fromReaders('nodejs-polars')
const [directory, from, to] = process.argv.slice(2)
if (directory !== undefined) {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true }).filter(entry =>
    entry.isFile(),
  )
  const frames = entries.map(({ parentPath, name }) => pl.readParquet(join(parentPath, name)))
  const table = pl.concat(frames, { how: 'diagonal' })
  const times = table.getColumn('received_at').toArray()
  const [first, end] = [from, to].map(text => Date.parse(`${text}Z`))
  const isInHours = time => time !== null && Number(time) >= first && Number(time) < end
  const found = {
    rows: table.height,
    messageIds: table.getColumn('message_id').nUnique(),
    pro: table.filter(pl.col('plan').eq(pl.lit('pro'))).height,
    amountSum: table.getColumn('amount').sum(),
    withoutTime: table.getColumn('received_at').nullCount(),
    inHours: times.filter(isInHours).length,
  }
  process.stdout.write(JSON.stringify(found))
}
