import { rm } from 'node:fs/promises'
import { BATCH_EVENTS, HOURS, LakeSite, lineOf, timing } from '../lake-site.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import { type RowResult, ratio } from '../table.ts'

const QUERY = 'select event, count(*), count(distinct user_id) from events group by 1'
const COPIED = 'messageId as message_id, event, user_id, receivedAt as received_at, context, properties'

/** Measures compaction and queries of an archive in a directory, beside DuckDB on its objects. */
export async function lake(site: Site): Promise<RowResult[]> {
  const { rounds } = site.options
  const lakeSite = await LakeSite.make(site)
  const compaction = await compactions(lakeSite, rounds)
  const compacted = await queries(lakeSite, rounds)
  const half = await halfCompacted(lakeSite, rounds)
  await lakeSite.close()
  return [compaction, compacted, half]
}

async function compactions(site: LakeSite, rounds: number): Promise<RowResult> {
  const ours = timing('frequency compact')
  const peer = timing("DuckDB's COPY, the same columns and order")
  for (let round = 1; round <= rounds; round++) {
    await site.removeTable()
    await site.timed(ours, ['compact', '--no-progress'])
    peer.ms.push(await copyByDuckdb(site))
    progress(`  compaction: round ${round} of ${rounds}, ${ours.ms.at(-1)} ms and ${peer.ms.at(-1)} ms`)
  }
  const size = (await site.bytesOf('.parquet')) / (await site.bytesOf('.ndjson.gz'))
  return {
    title: `${site.events} events of ${BATCH_EVENTS} an object into Parquet, a file for each of ${HOURS} hours`,
    goal: '0.6 × DuckDB’s own COPY, at most 1 GiB; 0.6 × the bytes of the objects',
    lines: [ours, peer].map(each => lineOf(each, site.events)),
    notes: [
      'Peak: all processes of the command. DuckDB runs in the process of the bench.',
      `The files have ${size.toFixed(2)} × the bytes of the objects.`,
    ],
  }
}

async function copyByDuckdb(site: LakeSite): Promise<number> {
  const target = site.file('copied')
  await rm(target, { recursive: true, force: true })
  return site.inDuckdb(
    `copy (select ${COPIED}, dt, hour from ${site.source} order by event, received_at, message_id) to '${target}'
    (format parquet, compression zstd, partition_by (dt, hour))`,
  )
}

async function queries(site: LakeSite, rounds: number): Promise<RowResult> {
  const compacted = timing('frequency query, compacted')
  const start = timing('the same command with select 1')
  const raw = timing('DuckDB on the objects, columns declared')
  const alone = timing("DuckDB on the table's files")
  for (let round = 0; round <= rounds; round++) {
    await site.timed(compacted, ['query', QUERY])
    await site.timed(start, ['query', 'select 1'])
    raw.ms.push(await site.inDuckdb(QUERY.replace('from events', `from ${site.source}`)))
    alone.ms.push(await site.inDuckdb(QUERY.replace('from events', `from ${site.table}`)))
  }
  // The first round reads programs and files from the disk.
  for (const { ms } of [compacted, start, raw, alone]) ms.shift()
  return {
    title: `${QUERY}, ${site.events} events`,
    goal: '10 × as fast as on the objects, without the start; 0.6 s with it',
    lines: [compacted, start, raw, alone].map(each => lineOf(each)),
  }
}

/** Each query reads the objects: what it keeps of them is removed before. */
async function halfCompacted(site: LakeSite, rounds: number): Promise<RowResult> {
  const [half, all, none] = [
    timing('frequency query, half of the hours compacted'),
    timing('all compacted'),
    timing('none compacted, so that all objects are read'),
  ]
  for (let round = 1; round <= rounds; round++)
    for (const [timed, hours] of [
      [none, 0],
      [half, HOURS / 2],
      [all, HOURS],
    ] as const) {
      await site.removeTable()
      if (hours > 0) await site.compact(hours)
      await site.removeCache()
      await site.timed(timed, ['query', '--no-progress', QUERY])
      progress(`  ${timed.name}: round ${round} of ${rounds}, ${timed.ms.at(-1)} ms`)
    }
  const sum = timing('half of each of these two')
  sum.ms.push(...all.ms.map((ms, round) => (ms + (none.ms[round] as number)) / 2))
  const lines = [half, all, none, sum].map(each => lineOf(each))
  return {
    title: `${QUERY}, half compacted`,
    goal: '1.2 × the sum of both halves',
    lines,
    notes: [`Half compacted takes ${ratio(lines[0] as never, lines[3] as never)} the sum of both halves.`],
  }
}
