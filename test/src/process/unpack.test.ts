import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync } from 'node:zlib'
import t from 'tap'
import { type PackedFile, unpack } from '../../../src/process/unpack.ts'
import { range, temporaryDirectory } from '../../helpers/helper.ts'

const TEXTS = { 'a.node': 'a'.repeat(1_000_000), 'b.so': 'b' }
const LONG_AGO = new Date(Date.now() - 2 * 60 * 60 * 1000)

function packedFiles(texts: Record<string, string> = TEXTS): PackedFile[] {
  return Object.entries(texts).map(([name, text]) => ({
    name,
    sha256: createHash('sha256').update(text).digest('hex'),
    packed: () => brotliCompressSync(text),
  }))
}

function textsIn(directory: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(directory).map(name => [name, readFileSync(join(directory, name), 'utf8')]),
  )
}

t.test('files are unpacked once, for their owner only', async t => {
  const parent = temporaryDirectory(t)
  const directory = await unpack(packedFiles(), parent, 'x')
  t.same(textsIn(directory), TEXTS)
  t.equal(statSync(directory).mode & 0o777, 0o700)
  t.equal(statSync(join(directory, 'a.node')).mode & 0o777, 0o500)
  const { ino } = statSync(join(directory, 'a.node'))
  t.equal(await unpack(packedFiles(), parent, 'x'), directory)
  t.equal(statSync(join(directory, 'a.node')).ino, ino)
})

t.test('many may do so at once', async t => {
  const parent = temporaryDirectory(t)
  const directories = await Promise.all(range(20).map(() => unpack(packedFiles(), parent, 'x')))
  t.equal(new Set(directories).size, 1)
  t.same(textsIn(directories[0] as string), TEXTS)
})

t.test('a file that was changed is written again', async t => {
  const parent = temporaryDirectory(t)
  const directory = await unpack(packedFiles(), parent, 'x')
  const path = join(directory, 'b.so')
  const elsewhere = join(parent, 'elsewhere')
  const replacements: Record<string, () => void> = {
    'other bytes': () => writeFileSync(path, 'c'),
    'a symbolic link': () => symlinkSync(elsewhere, path),
    'a hard link': () => linkSync(elsewhere, path),
    'a file for others to write': () => {
      writeFileSync(path, 'b')
      chmodSync(path, 0o666)
    },
    'no file': () => {},
  }
  writeFileSync(elsewhere, 'b')
  for (const [name, replace] of Object.entries(replacements)) {
    rmSync(path, { force: true })
    replace()
    await unpack(packedFiles(), parent, 'x')
    t.same(textsIn(directory), TEXTS, name)
    t.match(statSync(path), { nlink: 1 }, name)
    t.equal(statSync(path).mode & 0o777, 0o500, name)
  }
  t.equal(readFileSync(elsewhere, 'utf8'), 'b')
})

t.test('a directory that other users may change is refused', async t => {
  const parent = temporaryDirectory(t)
  const directory = await unpack(packedFiles(), parent, 'x')
  chmodSync(directory, 0o777)
  await t.rejects(unpack(packedFiles(), parent, 'x'), /Other users may write .*Remove it/)
  chmodSync(directory, 0o700)
  chmodSync(parent, 0o777)
  await t.rejects(
    unpack(packedFiles(), parent, 'x'),
    /Other users may rename what is in .*Take that permission/,
  )
  chmodSync(parent, 0o1777)
  t.equal(await unpack(packedFiles(), parent, 'x'), directory, 'as in /tmp')
})

t.test('a link in place of the directory is refused', async t => {
  const parent = temporaryDirectory(t)
  const directory = await unpack(packedFiles(), parent, 'x')
  const other = temporaryDirectory(t)
  symlinkSync(directory, join(other, directory.slice(parent.length + 1)))
  await t.rejects(unpack(packedFiles(), other, 'x'), /is not a directory. Remove it/)
})

t.test('other versions and what a killed process left are removed when they are old', async t => {
  const parent = temporaryDirectory(t)
  const older = await unpack(packedFiles({ 'a.node': '1' }), parent, 'x')
  const old = await unpack(packedFiles({ 'a.node': '2' }), parent, 'x')
  const directory = await unpack(packedFiles(), parent, 'x')
  const left = join(directory, '.a.node-left')
  writeFileSync(left, '')
  mkdirSync(join(parent, 'other'))
  for (const path of [older, left, join(parent, 'other')]) utimesSync(path, LONG_AGO, LONG_AGO)
  await unpack(packedFiles(), parent, 'x')
  t.notOk(existsSync(older))
  t.notOk(existsSync(left))
  t.ok(existsSync(old), 'another process may just start with it')
  t.ok(existsSync(join(parent, 'other')))
})

t.test('a file that is damaged in the executable is refused', async t => {
  const parent = temporaryDirectory(t)
  const [file] = packedFiles({ 'a.node': 'a' }) as [PackedFile]
  const damaged = [{ ...file, packed: () => brotliCompressSync('b') }]
  await t.rejects(unpack(damaged, parent, 'x'), /a\.node in this executable is damaged\. Install/)
  const [name = ''] = readdirSync(parent)
  t.same(readdirSync(join(parent, name)), [])
})
