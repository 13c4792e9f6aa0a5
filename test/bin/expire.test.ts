/** Runs `frequency expire` of the built program, on a directory and on an S3 server. */
import { join } from 'node:path'
import t from 'tap'
import { build, objectOf, openArchive, putObject, STORE_KINDS, verified } from '../helpers/archive-by-hand.ts'
import { rawIds } from '../helpers/expire-helper.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { until } from '../services/wait.ts'
import { buildProgram, type Run, runProgram, startProgram } from './program.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const WAIT_MS_MAX = 60_000

const path = await buildProgram(t)

for (const kind of STORE_KINDS) {
  t.test(`days are removed, and objects that are in the table, on ${kind}`, async t => {
    const archive = await openArchive(t, kind)
    for (const days of [400, 40, 3]) {
      const receivedAt = new Date(Date.now() - days * DAY_MS).toISOString()
      const event = JSON.stringify({ event: 'counted', messageId: `${days}`, receivedAt })
      await putObject(archive, objectOf([event]), '.ndjson.gz', receivedAt)
    }
    await build(archive, archive.store)
    const env = { ...process.env, ...archive.settings, DATA_DIR: temporaryDirectory(t) }
    const run = (...args: string[]): Promise<Run> => runProgram(t, path, args, env)

    t.match(await run('expire', '--yes'), { code: 2, stderr: /RETENTION and RAW_RETENTION are not set/ })
    t.match(await run('expire', '--retention=1d'), {
      code: 2,
      stderr: /RETENTION must be a time of at least 2/,
    })
    t.match(await run('expire', '--retention=1y'), { code: 2, stderr: /Add --yes/ }, 'nobody can be asked')
    t.match(await run('expire', '--raw-retention=30d', '--yes'), { code: 0, stdout: /there is no table/ })
    t.strictSame(await rawIds(archive, archive.store), ['3', '40', '400'])

    t.match(await run('compact'), { code: 0, stdout: /Added 3 files/ })
    const dryRun = await run('expire', '--retention=1y', '--raw-retention=30d', '--dry-run')
    t.match(dryRun, { code: 0, stdout: /Of 2 days 2 objects .* 1 file .* would be removed/ })
    const { code, stdout } = await run('expire', '--retention=1y', '--raw-retention=30d', '--yes', '--json')
    t.equal(code, 0)
    t.match(JSON.parse(stdout), {
      isDone: true,
      days: [
        { objects: 1, files: 1 },
        { objects: 1, files: 0 },
      ],
    })
    t.strictSame(await rawIds(archive, archive.store), ['3'])
    t.match(await run('query', 'select message_id from events order by 1', '--format=csv'), {
      stdout: 'message_id\n3\n40\n',
    })
    const { log } = await verified(archive, archive.store)
    t.match(log, { missing: { objects: 0 }, unknown: { objects: 0 }, changed: { objects: 0 } })
  })
}

t.test('a server that archives does it by itself', async t => {
  const archive = await openArchive(t, 'directory')
  for (const days of [40, 3]) {
    const receivedAt = new Date(Date.now() - days * DAY_MS).toISOString()
    const event = JSON.stringify({ event: 'counted', messageId: `${days}`, receivedAt })
    await putObject(archive, objectOf([event]), '.ndjson.gz', receivedAt)
  }
  await build(archive, archive.store)
  const cwd = temporaryDirectory(t)
  const program = startProgram(t, path, {
    cwd,
    env: { ...archive.settings, DATA_DIR: join(cwd, 'data'), PORT: '0', RETENTION: '30d' },
  })
  await program.listening()
  await until('it is logged', WAIT_MS_MAX, () => /Days that have expired were removed/.test(program.stdout))
  t.strictSame(await rawIds(archive, archive.store), ['3'])
  t.equal((await program.stop()).code, 0)
})
