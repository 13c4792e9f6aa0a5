/** Which fsyncs each operation of the directory store does, and in which order, as strace sees them. */
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { temporaryDirectory } from '../../helpers/helper.ts'
import { ensureServers, serverPath } from '../../services/install.ts'

const CALLS = 'fsync,fdatasync,?mkdir,?mkdirat,?link,?linkat,?rename,?renameat,?renameat2,?unlink,?unlinkat'

await ensureServers()
const parent = temporaryDirectory(t)
const root = join(parent, 'archive')
const marks = join(parent, 'marks')
mkdirSync(marks)

/** By step: `sync PATH` and the changes of entries, in order. Paths are relative to the archive. */
async function traced(): Promise<Record<string, string[]>> {
  const trace = join(parent, 'trace')
  const script = join(import.meta.dirname, '../../helpers/directory-syncs-process.ts')
  const command = [process.execPath, '--import=tsx', script, root, marks]
  await promisify(execFile)(serverPath('strace'), [
    '-f',
    '-qq',
    '-y',
    '-o',
    trace,
    '-e',
    `trace=${CALLS}`,
    ...command,
  ])
  const steps: Record<string, string[]> = {}
  let step: string[] = []
  for (const line of readFileSync(trace, 'utf8').split('\n')) {
    const [, call = '', args = ''] = /^\d+ +(\w+)\((.*)/.exec(line) ?? []
    const [, name] = /step-([\w-]+)"/.exec(args) ?? []
    if (name !== undefined) {
      step = []
      steps[name] = step
    } else if (args.includes(parent)) step.push(described(call, args))
  }
  return steps
}

function described(call: string, args: string): string {
  const paths = [...args.matchAll(/<(\/[^>]*)>(?!, ")|"([^"]*)"/g)].map(
    ([, file, named]) => file ?? named ?? '',
  )
  const places = paths.map(path => path.replace(root, '').replace(/\/\.incoming\/.+/, 'incoming') || '/')
  const name = call === 'fsync' || call === 'fdatasync' ? 'sync' : call.replace(/at2?$/, '')
  return [name, ...places].join(' ')
}

const steps = await traced()

/** Without the directories that are made and the temporary files that are removed. */
function of(step: string): string[] {
  return (steps[step] ?? []).filter(each => !/^(unlink incoming|mkdir)/.test(each))
}

t.test('what must stay is fsynced before it can be seen, and its entry before it is answered', async t => {
  t.same(of('create'), ['sync incoming', 'link incoming /p/a/2', 'sync /p/a'])
  t.same(of('create-existing'), ['sync incoming', 'link incoming /p/a/2'])
  t.same(of('replace'), ['sync incoming', 'rename incoming /p/a/1', 'sync /p/a'])
  t.same(of('stage'), ['sync incoming', 'rename incoming /p/a/3', 'sync /p/a'])
  t.same(of('move'), ['rename /p/a/3 /p/b/3', 'sync /p/b'])
  const removed = of('remove')
  t.same(removed.slice(-2).toSorted(), ['sync /p/a', 'sync /p/b'])
  t.same(removed.slice(0, -2).toSorted(), [
    'unlink /p/a/1',
    'unlink /p/a/2',
    'unlink /p/b/1',
    'unlink /p/b/none',
  ])
})

t.test('who acts on what it reads finds it after a power cut', async t => {
  t.same(of('read'), ['sync /p/a'])
  t.same(of('read-missing'), [])
  t.same(of('reader'), [], 'who only reads leaves no trace')
})

t.test('a directory is fsynced into those above it, once, also where another process made it', async t => {
  const made = of('create-in-new-directories')
  t.same(made.slice(-2), ['link incoming /p/a/1', 'sync /p/a'])
  t.same(made.slice(0, -2).toSorted(), ['sync /', 'sync /p', 'sync incoming'])
  t.same(of('create-in-sibling').slice(0, -2).toSorted(), ['sync /p', 'sync incoming'])
  const others = of('create-in-directory-of-another')
  t.same(others.slice(0, -2).toSorted(), ['sync /', 'sync /p', 'sync incoming'])
  t.ok(
    of('open').some(each => each === `sync ${parent}`),
    'the archive itself too',
  )
})
