/**
 * A process that uses a log on disk, for a test that kills it:
 *
 *     node --import=tsx test/helpers/disk-log-process.ts DIRECTORY FROM
 *
 * Appends numbers from FROM on, reads them, and drops the entries that it has read, until it is killed. Prints "+n"
 * after it has appended n, and "-n" before it drops all entries through n. Prints "!FILE" for each damaged file.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { DiskLog } from '../../src/queue/embedded/disk-log.ts'
import { bodyOf, numberIn } from './disk-log-helper.ts'

const APPENDS_AT_ONCE = 16
const DROP_EVERY = 40

const [path = '', from = '0'] = process.argv.slice(2)
const log = await DiskLog.open({ path, segmentBytes: 16 * 1024 })
for (const { file } of log.damages) process.stdout.write(`!${file}\n`)
let next = Number(from)

async function keepAppending(): Promise<void> {
  for (;;) {
    const n = next++
    await log.append(bodyOf(n, 20 + (n % 500)), 1)
    process.stdout.write(`+${n}\n`)
  }
}

for (let i = 0; i < APPENDS_AT_ONCE; i++) void keepAppending()
let cursor = log.dropped
for (let read = 0; ; await nextTurn()) {
  for (const entry of log.read(cursor)) {
    cursor = entry.key
    if (++read % DROP_EVERY !== 0) continue
    process.stdout.write(`-${numberIn(entry)}\n`)
    void log.dropThrough(cursor, DROP_EVERY)
  }
}
