/** The Iceberg table on a directory and on S3, read by a program that is not ours, also while writers race. */
import { test } from 'tap'
import { commitIceberg } from '../../../src/table/iceberg/commit-iceberg.ts'
import { dropHistory } from '../../../src/table/iceberg/expire-snapshots.ts'
import type { TableState } from '../../../src/table/table-state.ts'
import { range } from '../../helpers/helper.ts'
import { entryRead, filesOf, hintOf, isRead, readIceberg, tableOf } from '../../helpers/iceberg-reader.ts'
import { keysOf } from '../../helpers/store-helper.ts'
import { KINDS } from '../../helpers/store-kinds.ts'
import { AMOUNT, FIRST_HOUR, PLAN } from '../../helpers/table-helper.ts'

/** The strict S3 server adds nothing to radosgw here. */
const STORES = KINDS.filter(({ isHere }) => isHere !== true)

for (const { name, open } of STORES) {
  test(`on ${name}`, async t => {
    const { store } = await open(t)
    const table = await tableOf(t, store)
    const first = await table.file({ rows: 30 })
    const second = await table.file({ hour: FIRST_HOUR + 1, name: 'second' })
    table.append({ added: [first, second] })
    await isRead(t, table)

    const staged = await table.file({ hour: FIRST_HOUR + 1 })
    const stagedPath = `${table.keys.staged}s`
    await store.move(staged.key, stagedPath)
    table.append({
      added: [{ ...staged, path: stagedPath, isStaged: true }, await table.file({ hour: null })],
    })
    await isRead(t, table)
    await store.move(stagedPath, staged.key)
    table.append({ placed: [staged.key] })
    await isRead(t, table)

    table.append({ columns: [PLAN, AMOUNT], added: [await table.file({ typed: [PLAN, AMOUNT], rows: 4 })] })
    await isRead(t, table)
    const { rows } = await readIceberg(table.location)
    t.equal(rows.filter(({ plan }) => plan === 'pro').length, 2)
    t.equal(rows.filter(({ amount }) => amount === 3.5).length, 1)
    t.equal(rows.filter(({ event }) => event === 'event 1').length, 10 + 3 * 3 + 1)

    const path = `${table.keys.rewritten}second.parquet`
    table.append({ replaced: [await table.file({ hour: FIRST_HOUR + 1, name: 'second', rows: 6, path })] })
    await isRead(t, table)
    table.append({ removed: [first.key] })
    await isRead(t, table)
    t.equal(await hintOf(store, table.keys), 6)
    const hints = (await keysOf(store, table.keys.metadata)).filter(key => key.includes('version-hint'))
    t.equal(hints.length, 1, 'no hint is left over')
  })
}

for (const { name, open } of STORES) {
  test(`committers race, and a reader is beside, on ${name}`, async t => {
    const { store } = await open(t)
    const table = await tableOf(t, store)
    const states: TableState[] = []
    for (const hour of range(6))
      states.push(table.append({ added: [await table.file({ hour: FIRST_HOUR + hour, rows: 3 })] }))
    await commitIceberg(table.parts, states[0] as TableState)
    let isDone = false
    const reader = async () => {
      for (let last = 0; !isDone; ) {
        const { entry, files } = await entryRead(table)
        if (entry < last) throw new Error(`${entry} was read after ${last}`)
        t.same(files, filesOf(table, states[entry - 1] as TableState))
        last = entry
      }
    }
    const reading = reader()
    const writers = states.flatMap(state => [state, state]).map(state => commitIceberg(table.parts, state))
    await Promise.all(writers).finally(() => {
      isDone = true
    })
    await reading
    t.equal((await entryRead(table)).entry, 6)
    const versions = (await keysOf(store, `${table.keys.metadata}v`)).filter(key => key.endsWith('.json'))
    t.equal(await hintOf(store, table.keys), versions.length)
    await dropHistory(table.parts)
    t.same((await entryRead(table)).files, filesOf(table, table.state))
    const left = (await keysOf(store, table.keys.metadata)).length
    t.ok(left <= 3 + 6, `${left} objects: version, hint, list and manifests`)
  })
}
