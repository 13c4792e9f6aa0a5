/** Runs `frequency log` of the built program, on a directory and on a real S3 server. */
import t, { type Test } from 'tap'
import { logKeys } from '../../src/log/log-keys.ts'
import { LogReader } from '../../src/log/log-reader.ts'
import { openStore } from '../../src/store/open-store.ts'
import {
  archivedEvents,
  damage,
  flipped,
  objectOf,
  openArchive,
  putObject,
  type TestArchive,
} from '../helpers/archive-by-hand.ts'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { buildProgram, type Run, runProgram } from './program.ts'
import { testBucket } from './s3-bucket.ts'

const path = await buildProgram(t)

async function run(t: Test, args: readonly string[], env: Record<string, string> = {}): Promise<Run> {
  return await runProgram(t, path, args, env)
}

async function jsonOf(t: Test, args: readonly string[], env?: Record<string, string>) {
  const { code, stdout } = await run(t, [...args, '--json'], env)
  return { code, ...JSON.parse(stdout) }
}

async function openBucket(t: Test): Promise<TestArchive & { env: Record<string, string> }> {
  const bucket = await testBucket(t)
  const settings = { ARCHIVE_URL: `s3://${bucket.name}/p`, S3_FORCE_PATH_STYLE: 'true' }
  const store = await openStore(configOf(settings))
  t.teardown(() => store.close())
  const keys = logKeys('p')
  return {
    store,
    prefix: 'p',
    keys,
    reader: new LogReader(store, keys),
    settings,
    env: { ...bucket.env, ...settings },
  }
}

t.test('a log is built, shown, repaired and verified in a directory', async t => {
  const archive = await openArchive(t, 'directory')
  const url = archive.settings.ARCHIVE_URL as string
  for (let n = 0; n < 3; n++) await putObject(archive, objectOf(archivedEvents(10)))
  t.match(await run(t, ['log', url]), { code: 2, stderr: /^frequency: The archive has no log/ })

  const built = await run(t, ['log', 'build', url])
  t.match(built, {
    code: 0,
    stderr: '',
    stdout: /1 record with 3 objects and 30 events\.\n\nArchivers can start\./,
  })
  t.match(await jsonOf(t, ['log', 'build', url]), { code: 2, error: /has a log/ })
  const shown = await run(t, ['log', 'show', url])
  t.match(shown, { code: 0, stdout: /Last record: 1\n/ })
  t.match(shown.stdout, /^ +1 {2}20\d\d-\S+ {2}[0-9a-f]{8} +3 +30 /m)
  t.match(await jsonOf(t, ['verify', url]), { code: 0, result: 'clean', log: { objects: 3 } })

  await damage(archive.store, archive.keys.record(1), flipped(30))
  t.match(await jsonOf(t, ['log', 'show', url]), {
    code: 1,
    records: [{ number: 0 }, { damaged: /checksum/ }],
  })
  t.match(await run(t, ['verify', url]), { code: 1, stdout: /Damaged records +1 / })
  const refused = await run(t, ['log', 'repair', '1', url])
  t.match(refused, {
    code: 2,
    stdout: /will be overwritten\. It will name 3 objects with 30 events/,
    stderr: /--yes/,
  })
  t.match(await jsonOf(t, ['log', 'show', url]), { code: 1 }, 'nothing was changed')
  const repaired = await run(t, ['log', 'repair', '1', url, '--yes'])
  t.match(repaired, {
    code: 0,
    stdout: /Record 1 is repaired: it names 3 objects with 30 events/,
    stderr: '',
  })
  t.match(await jsonOf(t, ['log', 'repair', '1', url, '--yes']), { code: 2, error: /can be read/ })
  t.match(await jsonOf(t, ['verify', url]), { code: 0, result: 'clean' })
  t.match(await jsonOf(t, ['log', 'show', url, '--from', '1']), { code: 0, records: [{ isRepaired: true }] })
})

t.test('the exit code is 1 if damaged objects or duplicates are found', async t => {
  const archive = await openArchive(t, 'directory')
  const url = archive.settings.ARCHIVE_URL as string
  const events = archivedEvents(10)
  await putObject(archive, objectOf(events))
  await putObject(archive, objectOf(events.slice(0, 2)))
  const cut = await putObject(archive, objectOf(archivedEvents(500)).subarray(0, 900))
  t.match(await jsonOf(t, ['log', 'build', url, '--list', '1']), {
    code: 1,
    objects: 2,
    damaged: { objects: 1, list: [{ key: cut }] },
    duplicates: { events: 2, list: { length: 1 } },
  })
  await damage(archive.store, archive.keys.record(1), flipped(30))
  t.match(await jsonOf(t, ['log', 'repair', '1', url, '--yes']), {
    code: 1,
    record: 1,
    isRepaired: true,
    objects: { length: 2 },
    damaged: [{ key: cut }],
  })
})

t.test('an archive that does not exist, an invalid number, and an archive without objects', async t => {
  const nowhere = `${temporaryDirectory(t)}/nowhere`
  for (const args of [['show'], ['build'], ['repair', '1', '--yes']])
    t.match(await run(t, ['log', ...args, nowhere]), {
      code: 2,
      stderr: /^frequency: archive-url: there is no directory/,
    })
  t.match(await run(t, ['log', 'repair', 'x']), { code: 2, stderr: /whole number/ })
  t.match(await run(t, ['log', 'build', temporaryDirectory(t)]), { code: 2, stderr: /has no objects/ })
})

t.test('on a real S3 server', async t => {
  const { env, ...archive } = await openBucket(t)
  const { store, keys } = archive
  for (let n = 0; n < 3; n++) await putObject(archive, objectOf(archivedEvents(10)))
  t.match(await jsonOf(t, ['log', 'build'], env), { code: 0, objects: 3, events: 30 })
  t.match(await jsonOf(t, ['verify'], env), { code: 0, otherObjects: 0, log: { objects: 3 } })
  await store.remove([keys.record(1)])
  t.match(await jsonOf(t, ['log', 'show'], env), { code: 1, position: 0, hint: 1 })
  t.match(await jsonOf(t, ['verify'], env), {
    code: 1,
    log: { damaged: { records: 1 }, unknown: { objects: 3 } },
  })
  t.match(await jsonOf(t, ['log', 'repair', '1', '--yes'], env), { code: 0, events: 30 })
  t.match(await jsonOf(t, ['verify'], env), { code: 0, result: 'clean' })
})
