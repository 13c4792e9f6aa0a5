import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { systemFiles } from '../../src/queue/embedded/disk-log-files.ts'
import { parseSegmentName } from '../../src/queue/embedded/disk-log-format.ts'
import { scanSegment } from '../../src/queue/embedded/disk-log-recovery.ts'
import { LogSegment } from '../../src/queue/embedded/disk-log-segment.ts'
import { DroppedNote, NOTE_NAME } from '../../src/queue/embedded/dropped-note.ts'

/**
 * Counts the records of a log on disk that are not dropped. A process may use the log meanwhile.
 *
 * @throws the system's error if a segment is deleted meanwhile
 */
export async function countRecords(path: string): Promise<number> {
  if (!existsSync(join(path, NOTE_NAME))) return 0
  const note = await DroppedNote.open(path, systemFiles)
  const { dropped } = note
  await note.close()
  let records = 0
  for (const name of readdirSync(path)) {
    const parsed = parseSegmentName('', name)
    if (parsed === undefined) continue
    const segment = new LogSegment(join(path, name), parsed)
    await scanSegment(segment, (_, { key }) => {
      if (key > dropped) records++
    })
    segment.close()
  }
  return records
}
