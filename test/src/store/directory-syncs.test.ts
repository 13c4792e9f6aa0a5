/** Checks with strace which fsyncs each operation of the directory store does, and in which order. */
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

/** For each step: its fsyncs (`sync PATH`) and changes of entries, in order. Paths are relative to the archive. */
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

/** The calls of a step, without `mkdir` and without the removal of temporary files. */
function of(step: string): string[] {
  return (steps[step] ?? []).filter(each => !/^(unlink incoming|mkdir)/.test(each))
}

t.test('a file is fsynced before it is visible, and its directory before the call returns', async t => {
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

t.test('a writer fsyncs the directory of an object that it reads, and a reader does not', async t => {
  t.same(of('read'), ['sync /p/a'])
  t.same(of('read-missing'), [])
  t.same(of('reader'), [])
})

t.test('the parents of a directory are fsynced once, also if another process made it', async t => {
  const made = of('create-in-new-directories')
  t.same(made.slice(-2), ['link incoming /p/a/1', 'sync /p/a'])
  t.same(made.slice(0, -2).toSorted(), ['sync /', 'sync /p', 'sync incoming'])
  t.same(of('create-in-sibling').slice(0, -2).toSorted(), ['sync /p', 'sync incoming'])
  const others = of('create-in-directory-of-another')
  t.same(others.slice(0, -2).toSorted(), ['sync /', 'sync /p', 'sync incoming'])
  t.ok(
    of('open').some(each => each === `sync ${parent}`),
    'the parent of the archive too',
  )
})
