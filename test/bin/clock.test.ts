/** The built program with a clock that libfaketime steps. Its timers continue, as with a real clock that is set. */
import { execFile } from 'node:child_process'
import { cpSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { ensureServers, serverPath } from '../services/install.ts'
import type { Program } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { archivedObjects, numbersIn } from './archived.ts'
import { Posts } from './posts.ts'
import { buildProgram, startProgram } from './program.ts'

const WAIT_MS_MAX = 60_000
const DAY_MS = 24 * 60 * 60 * 1000

await ensureServers()
const library = await promisify(execFile)(serverPath('faketime'), ['-f', '+0s', 'printenv', 'LD_PRELOAD'])
const path = await buildProgram(t)

interface SteppedProgram {
  readonly cwd: string
  readonly config: ReturnType<typeof configOf>
  start(more?: Record<string, string>): Program
  /** Sets the clock of all its processes: "+2d", "-3h". */
  setClock(offset: string): void
  archived(): Promise<number[]>
}

function steppedProgram(t: Test): SteppedProgram {
  const cwd = temporaryDirectory(t)
  const clock = join(cwd, 'clock')
  const config = configOf({ DATA_DIR: join(cwd, 'data') })
  const env = {
    PORT: '0',
    BATCH_AGE_MS_MAX: '100',
    LD_PRELOAD: library.stdout.trim(),
    FAKETIME_TIMESTAMP_FILE: clock,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    DONT_FAKE_MONOTONIC: '1',
  }
  return {
    cwd,
    config,
    start: more => startProgram(t, path, { cwd, env: { ...env, ...more } }),
    setClock: offset => writeFileSync(clock, offset),
    archived: async () =>
      numbersIn(await archivedObjects(config))
        .map(Number)
        .sort((a, b) => a - b),
  }
}

t.test('ids archived while the clock was ahead are known after it is set back', async t => {
  const { cwd, config, start, setClock, archived } = steppedProgram(t)
  const data = join(cwd, 'data')
  setClock('+2d')
  const taking = start({ BATCH_AGE_MS_MAX: '600000' })
  const posts = new Posts(t, await taking.listening())
  await posts.post(50)
  await taking.kill('SIGKILL').ended
  cpSync(join(data, 'queue'), join(cwd, 'queue'), {
    recursive: true,
    filter: source => !/lock[-~]/.test(source),
  })

  const archiving = start()
  await archiving.listening()
  await until('all is archived', WAIT_MS_MAX, async () => (await archived()).length === 50)
  await archiving.kill('SIGKILL').ended
  const [{ key = '' } = {}] = await archivedObjects(config)
  t.match(key, `dt=${new Date(Date.now() + 2 * DAY_MS).toISOString().slice(0, 10)}`, 'the clock was ahead')

  // As on another machine, with no delivery acknowledged.
  setClock('+0')
  rmSync(join(data, 'queue'), { recursive: true })
  rmSync(join(data, 'dedupe'), { recursive: true })
  cpSync(join(cwd, 'queue'), join(data, 'queue'), { recursive: true })
  const again = start()
  const late = new Posts(t, await again.listening())
  await late.post(1)
  await until('it goes on', WAIT_MS_MAX, async () => (await archived()).length > 50)
  await again.stop()
  t.strictSame(await archived(), [0, ...posts.taken], 'each once, and the one that came after')
})

t.test('a clock that steps back and forth under load', async t => {
  const { cwd, start, setClock, archived } = steppedProgram(t)
  setClock('+0')
  let program = start()
  const posts = new Posts(t, await program.listening())
  posts.start(4)
  for (const offset of ['-2d', '+3h', '+3d', '-1h', '-400d', '+0', '+30s']) {
    const before = posts.taken.length
    setClock(offset)
    await until('events are taken', WAIT_MS_MAX, () => posts.taken.length > before + 100)
    await until('and archived', WAIT_MS_MAX, async () => (await archived()).length >= before + 50)
  }
  await program.kill('SIGKILL').ended
  await posts.stopped()
  setClock('-2d')
  program = start()
  await program.listening()
  await until('all is archived', WAIT_MS_MAX, async () => (await archived()).length >= posts.taken.length)
  t.match(await program.stop(), { code: 0 })
  const numbers = await archived()
  t.equal(new Set(numbers).size, numbers.length, 'none is double')
  const there = new Set(numbers)
  t.same(
    posts.taken.filter(n => !there.has(n)),
    [],
    `none of ${posts.taken.length} is missing`,
  )
  t.notMatch(program.output, /"level":(50|60)/)
  rmSync(join(cwd, 'data'), { recursive: true })
})
