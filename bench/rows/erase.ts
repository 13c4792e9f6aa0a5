import { stat, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { HOURS, LakeSite, lineOf, timing } from '../lake-site.ts'
import { linkedCopy } from '../linked-copy.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import { type Line, type RowResult, ratio } from '../table.ts'

const OBJECTS_SHARE = 0.01

interface User {
  readonly id: string
  /** Keys of the objects with events of this user. */
  readonly objects: readonly string[]
}

/**
 * Measures the erasure of a user who is in 1 % of the objects, beside a script that is told which objects and files of the
 * table these are. Each round erases another user.
 */
export async function erase(site: Site): Promise<RowResult> {
  const { rounds } = site.options
  const lake = await LakeSite.make(site)
  await lake.compact(HOURS)
  const byHand = lake.file('by-hand')
  await linkedCopy(lake.archive, byHand)
  const ours = timing('frequency erase')
  const peer = timing('by hand, objects and files of the table')
  const objectsAlone = timing('by hand, objects alone')
  const flaws: string[] = []
  const users = await usersOf(lake, rounds + 1)
  for (const [round, user] of users.entries()) {
    const before = await versionsOf(lake)
    await lake.timed(ours, ['erase', '--where', `user_id = '${user.id}'`, '--yes', '--no-progress'])
    flaws.push(...(await flawsOf(lake, before, user)))
    const plan = lake.file('plan.json')
    await writeFile(plan, JSON.stringify(await planOf(lake, byHand, user)))
    const ended = await lake.timed(peer, [plan], join('.bench', 'erase-by-hand.js'))
    objectsAlone.ms.push(Number(ended))
    progress(
      `  erase: round ${round} of ${rounds}, ${ours.ms.at(-1)} ms and ${peer.ms.at(-1)} ms, ${objectsAlone.ms.at(-1)} ms of it for objects`,
    )
  }
  const { events, doubled } = await site.verify(lake.archive)
  if (events !== lake.events) flaws.push(`${lake.events} events were archived, and ${events} are left`)
  if (doubled > 0) flaws.push(`${doubled} events are in the archive more than once`)
  // In the first round programs and files come from the disk, and the log is folded.
  for (const { ms } of [ours, peer, objectsAlone]) ms.shift()
  const lines: Line[] = [ours, peer, objectsAlone].map(each => lineOf(each))
  await lake.close()
  const [, of] = lines
  return {
    title: `Erasing a user who is in ${users[0]?.objects.length} of ${lake.objectCount} objects, in a table of ${HOURS} hours`,
    goal: '1.5 × by hand, at most 1 GiB, no other object touched',
    lines: [{ ...(lines[0] as Line), flaws }, ...lines.slice(1)],
    notes: [
      `The goal counts against the second line (${ratio(lines[0], of as Line)}): an archive that is compacted has the events twice.`,
      'Times are from the start of a process to its end. The script is told where the events are, syncs nothing, and updates neither log nor Iceberg.',
      'Peak: all processes of each.',
    ],
  }
}

/** Users whose number of objects is nearest to 1 %. */
async function usersOf(lake: LakeSite, count: number): Promise<User[]> {
  const wanted = Math.max(1, Math.round(lake.objectCount * OBJECTS_SHARE))
  const rows = await lake.rowsOf(
    `select user_id, list(distinct filename) as objects from ${lake.source} group by 1
    order by abs(len(objects) - ${wanted}), user_id limit ${count}`,
  )
  return rows.map(([id, objects]) => ({
    id: String(id),
    objects: (objects as string[]).map(path => relative(lake.archive, path)),
  }))
}

/** What the script is told. */
async function planOf(lake: LakeSite, archive: string, { id, objects }: User) {
  const table = join(archive, relative(lake.archive, lake.tableGlob))
  const rows = await lake.rowsOf(
    `select distinct filename from read_parquet('${table}', hive_partitioning = false, filename = true) where user_id = '${id}'`,
  )
  return {
    user: id,
    objects: objects.map(key => join(archive, key)),
    files: rows.map(([path]) => String(path)),
  }
}

/** The file and the time of each object, by key. */
async function versionsOf(lake: LakeSite): Promise<Map<string, string>> {
  const versions = new Map<string, string>()
  for (const [path] of await lake.rowsOf(`select file from glob('${lake.objectGlob}')`)) {
    const { ino, mtimeMs } = await stat(String(path))
    versions.set(relative(lake.archive, String(path)), `${ino} ${mtimeMs}`)
  }
  return versions
}

async function flawsOf(
  lake: LakeSite,
  before: ReadonlyMap<string, string>,
  { id, objects }: User,
): Promise<string[]> {
  const flaws: string[] = []
  const after = await versionsOf(lake)
  const wanted = new Set(objects)
  const touched = [...before].filter(([key, version]) => after.get(key) !== version)
  const others = touched.filter(([key]) => !wanted.has(key))
  if (others.length > 0 || after.size !== before.size)
    flaws.push(`${others.length} objects without events of ${id} were touched`)
  if (touched.length - others.length < wanted.size) flaws.push(`not all objects of ${id} were rewritten`)
  for (const source of [lake.source, lake.table]) {
    const [[left] = []] = await lake.rowsOf(`select count(*) from ${source} where user_id = '${id}'`)
    if (Number(left) > 0) flaws.push(`${left} events of ${id} are left`)
  }
  return flaws
}
