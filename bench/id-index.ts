/**
 * Measures the index of ids: looks up and adds batches of random ids until it has `--ids` ids.
 *
 *     node --import=tsx bench/id-index.ts --ids 10000000
 */
import { randomFillSync } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { IdIndex } from '../src/dedupe/id-index.ts'
import { openIdIndex } from '../src/dedupe/open-id-index.ts'
import { ID_BYTES } from '../src/event/message-id.ts'
import { createLogger } from '../src/process/logger.ts'
import { residentMib } from './process-figures.ts'

const USAGE = `node --import=tsx bench/id-index.ts [options]

  --ids=N      number of ids to add; default: 10000000
  --batch=N    number of ids in a batch; default: 20000
  --rows=N     number of lines to print; default: 10
  --hours=N    hours of the clock of the store from the first id to the last; default: 12
  --no-look-up adds the ids without a look-up
  --directory  parent of the directory of the index; default: the directory for temporary files
`
const DAY_MS = 24 * 60 * 60 * 1000

const { values } = parseArgs({
  options: {
    ids: { type: 'string', default: '10000000' },
    batch: { type: 'string', default: '20000' },
    rows: { type: 'string', default: '10' },
    hours: { type: 'string', default: '12' },
    'no-look-up': { type: 'boolean', default: false },
    directory: { type: 'string', default: tmpdir() },
    help: { type: 'boolean', default: false },
  },
})
const ids = Number(values.ids)
const batch = Number(values.batch)
const rows = Number(values.rows)
const config = { dedupeWindowMs: DAY_MS, dedupeIdsMax: 200_000_000 }
const path = join(mkdtempSync(join(values.directory, 'frequency-bench-')), 'index')
const log = createLogger('warn', false)

function residentBytes(): number {
  return residentMib(process.pid) * 2 ** 20
}

function diskBytes(): number {
  const own = join(path, '0')
  return readdirSync(own).reduce((sum, name) => sum + statSync(join(own, name)).blocks * 512, 0)
}

function print(...cells: (string | number)[]): void {
  process.stdout.write(`${cells.map(cell => String(cell).padStart(13)).join('')}\n`)
}

/** Adds a batch. Resolves to the number of its ids that the index had already. */
async function addBatch(index: IdIndex, buffer: Buffer, number: number): Promise<number> {
  let known = 0
  if (!values['no-look-up']) {
    for (let at = 0; at < buffer.length; at += ID_BYTES) if (index.has(buffer, at)) known++
  }
  const storedAt = (Number(values.hours) / 24) * DAY_MS * ((number * batch) / ids)
  index.add(
    buffer,
    { from: number, through: number, storedAt },
    { log: 'bench', number, hash: '0'.repeat(64), unsettled: [] },
  )
  await index.ready()
  return known
}

/** Adds all ids, and prints lines. The figures of a line are for the ids since the line before. */
async function fill(index: IdIndex): Promise<void> {
  const atRest = residentBytes()
  print('ids', 'ids/s', 'CPU us/id', 'longest ms', 'RSS MiB', 'RSS B/id', 'disk B/id')
  let number = 0
  for (let row = 1; row <= rows; row++) {
    const start = performance.now()
    const from = number
    let [madeMs, longest] = [0, 0]
    const cpu = process.cpuUsage()
    const made = { user: 0, system: 0 }
    while (number * batch < (ids * row) / rows) {
      const before = performance.now()
      const cpuBefore = process.cpuUsage()
      const buffer = randomFillSync(Buffer.allocUnsafeSlow(batch * ID_BYTES))
      const cpuMade = process.cpuUsage(cpuBefore)
      made.user += cpuMade.user
      made.system += cpuMade.system
      const began = performance.now()
      madeMs += began - before
      if ((await addBatch(index, buffer, number++)) > 0)
        throw new Error('The index has found an id that was never added.')
      longest = Math.max(longest, performance.now() - began)
    }
    const { user, system } = process.cpuUsage(cpu)
    const added = (number - from) * batch
    const resident = residentBytes()
    print(
      number * batch,
      Math.round((added / (performance.now() - start - madeMs)) * 1000),
      ((user + system - made.user - made.system) / added).toFixed(3),
      longest.toFixed(0),
      (resident / 2 ** 20).toFixed(0),
      ((resident - atRest) / (number * batch)).toFixed(2),
      (diskBytes() / (number * batch)).toFixed(1),
    )
  }
}

async function main(): Promise<void> {
  const index = await openIdIndex(path, config, log)
  await fill(index)
  let start = performance.now()
  await index.close()
  print('closed in', `${(performance.now() - start).toFixed(0)} ms`)
  print('disk B/id', (diskBytes() / ids).toFixed(2))
  start = performance.now()
  const again = await openIdIndex(path, config, log)
  print('opened in', `${(performance.now() - start).toFixed(0)} ms`, again.size)
  await again.close()
}

try {
  if (values.help) process.stdout.write(USAGE)
  else await main()
} finally {
  rmSync(join(path, '..'), { recursive: true, force: true })
}
